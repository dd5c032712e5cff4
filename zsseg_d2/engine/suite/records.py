"""``suite_job.json`` in a run's folder: which settings made it, how it ended; and what is left to do because of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ...files import atomic_path
from ..run_record import read_record
from ..checkpoints.weights_files import file_digest
from .jobs import Job

FILE = "suite_job.json"
LOG = "suite.log"


class Action(Enum):
    """What a job needs."""

    NONE = "finished"
    RESUME = "goes on"
    START = "to do"
    REPLACE = "to do again"


@dataclass(frozen=True)
class State:
    """What a job needs, and why, where that is not plain."""

    action: Action
    reason: str = ""
    overwrite: bool = False  # done again because the user says so, whatever is there


def read(folder: Path) -> dict:
    """The suite's record in a folder; empty where there is none that can be read."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write(folder: Path, content: dict) -> None:
    """Replace the record as a whole."""
    with atomic_path(folder / FILE) as beside:
        beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def states(jobs: Sequence[Job], *, overwrite: Collection[str] = ()) -> dict[Job, State]:
    """What each job needs.

    Args:
        jobs: each after those it needs.
        overwrite: names of runs that are to be done again in any case.
    """
    found: dict[Job, State] = {}
    for job in jobs:
        found[job] = state(job)
        again = [need.spec.name for need in job.needs if found[need].action in (Action.START, Action.REPLACE)]
        if job.spec.name in overwrite:
            action = Action.REPLACE if job.folder.exists() else Action.START
            found[job] = State(action, "asked for by --overwrite", overwrite=True)
        elif again and read(job.folder) and found[job].action is not Action.REPLACE:
            found[job] = State(Action.REPLACE, f"{again[0]} is run again")
    return found


def state(job: Job) -> State:
    """What the files in a job's own folder leave to do."""
    record = read(job.folder)
    if not record:
        occupied = job.folder.is_dir() and any(job.folder.iterdir())
        return State(Action.REPLACE, "its folder was not made by this suite") if occupied else State(Action.START)
    if record.get("fingerprint") != job.fingerprint:
        return State(Action.REPLACE, difference(job, record))
    for need in job.needs:
        if read(need.folder) and not _built_on(record, need):
            return State(Action.REPLACE, f"{need.spec.name} was run again since")
    if is_finished(job, record):
        return State(Action.NONE)
    lost = lost_result(job, record) if record.get("status") == "finished" else None
    # A program that makes something outside its folder goes on by itself; those that build on it get the same then.
    goes_on = (job.folder / "last_checkpoint").is_file() if job.spec.trains else job.result is not None
    return State(Action.RESUME if goes_on else Action.START, lost or str(record.get("status", "")))


def is_finished(job: Job, record: dict) -> bool:
    """Whether the job ended well, by its record or, where the suite did not live to see it, by run.json."""
    status = record.get("status")
    if status == "running" and job.spec.config:
        own = read_record(job.folder)
        mode = "train" if job.spec.trains else "eval"
        status = own.get("status") if own.get("mode") == mode else status
    return status == "finished" and lost_result(job, record) is None


def missing_result(job: Job) -> str | None:
    """The first file that the job ought to have written and that is not there."""
    if job.spec.metrics and metrics_file(job.folder, job.spec.metrics) is None:
        return f"inference/*/{job.spec.metrics}"
    if job.spec.curve and not (job.folder / job.spec.curve).is_file():
        return job.spec.curve
    if job.result is not None and not job.result.exists():
        return str(job.result)
    return None


def lost_result(job: Job, record: dict) -> str | None:
    """What has become of the files of a job that finished, in words; None: they are there.

    What it made outside its folder must be what it was: another suite may have put something else in its place.
    """
    missing = missing_result(job)
    if missing is not None:
        return f"{missing} is gone"
    digest = record.get("result_sha256")
    return f"{job.result} has changed" if digest and digest != result_digest(job) else None


def result_digest(job: Job) -> str | None:
    """Of the file that the job made outside its folder; None where there is none, or it is a folder."""
    return file_digest(job.result) if job.result is not None and job.result.is_file() else None


def metrics_file(folder: Path, name: str) -> Path | None:
    """``inference/<data set>/<name>``; of several data sets the first."""
    return next(iter(sorted(folder.glob(f"inference/*/{name}"))), None)


def difference(job: Job, record: dict) -> str:
    """What is different from the settings that a folder was made with, in words."""
    old, new = record.get("settings", {}), job.settings
    before, now = old.get("values", {}), new["values"]
    said = [
        f"{key} was {before.get(key, '(default)')}, is {now.get(key, '(default)')}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    said += [f"its {key} changed" for key in new if key != "values" and old.get(key) != new[key]]
    needed = record.get("needs", {})
    said += [
        f"the settings of {need.spec.name} changed"
        for need in job.needs
        if needed.get(need.spec.name, {}).get("fingerprint") != need.fingerprint
    ]
    return "; ".join(said) or "what it needs changed"


def needs_of(job: Job) -> dict[str, dict]:
    """For the record: what a job is built on, by settings and by the time when it was made."""
    return {n.spec.name: {"fingerprint": n.fingerprint, "made": read(n.folder).get("made")} for n in job.needs}


def _built_on(record: dict, need: Job) -> bool:
    return record.get("needs", {}).get(need.spec.name, {}).get("made") == read(need.folder).get("made")


def put_aside(job: Job, old: Path) -> Path | None:
    """Move a job's folder, if there is one, into the folder `old`; returns where it is now."""
    if not job.folder.exists():
        return None
    old.mkdir(parents=True, exist_ok=True)
    base = f"{job.folder.parent.name}_{job.folder.name}"
    number = next(k for k in range(1, 10**6) if not (old / f"{base}.{k}").exists())
    target = old / f"{base}.{number}"
    shutil.move(job.folder, target)
    return target


def bring_back(job: Job, old: Path) -> bool:
    """Put a finished folder that was made with the job's present settings, and was moved aside since, in its place.

    Nothing is done where the job's own folder has the present settings, finished or not.
    """
    if state(job).action is not Action.REPLACE and read(job.folder):
        return False
    for folder in sorted(old.glob(f"{job.folder.parent.name}_{job.folder.name}.*")):
        record = read(folder)
        same = record.get("fingerprint") == job.fingerprint and all(_built_on(record, need) for need in job.needs)
        if same and record.get("status") == "finished":
            put_aside(job, old)
            job.folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder, job.folder)
            return True
    return False
