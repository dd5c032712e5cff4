"""A job of a suite: its settings, its record on disk, and what they leave to do.

The program that runs jobs imports this module alone, so it imports nothing that takes long, such as torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
import portalocker

from ..reading import MB, UnusableFile, read_json

_LARGEST = 16 * MB  # of a record
RECORD = "suite_job.json"
LOG = "suite.log"
FINISHED = "suite_finished.json"
"""Snakemake's output, written last. Snakemake deletes outputs of jobs that fail, so nothing else is one."""


class Action(Enum):
    """What is left to do for a job."""

    NONE = "finished"
    RESUME = "to resume"
    START = "to do"
    REPLACE = "to do again"


class State(NamedTuple):
    """What is left to do for a job, and why, if that is not obvious."""

    action: Action
    reason: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """One run with one seed."""

    name: str
    seed: int | None  # None: the one run for all seeds
    folder: Path
    command: Sequence[str]
    environment: Mapping[str, str]
    settings: Mapping[str, Any]  # with placeholders, so that another output folder changes nothing
    fingerprint: str  # of the settings, and those of all jobs that this one builds on
    trains: bool  # resumes from a checkpoint with --resume
    mode: str  # of the run.json that the tool writes: "train" or "eval"; "": it writes none
    expects: Sequence[str]  # patterns of files in the folder, without which it has not finished
    result: Path | None = None  # what it makes outside its folder
    overwrite_argument: str = ""
    needs: tuple[Job, ...] = field(default=(), repr=False)

    @property
    def title(self) -> str:
        return self.name if self.seed is None else f"{self.name}, seed {self.seed}"

    @property
    def key(self) -> str:
        """``seed_1/<run>`` or ``once/<run>``: its folder within the suite's."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    def command_line(self, *, resume: bool, overwrite: bool = False) -> list[str]:
        """Return the command, with ``--resume`` or the run's `overwrite_argument` right after the program.

        Args:
            resume: it was started before. Programs that do not train resume by themselves.
            overwrite: the user asked for it to be done again.
        """
        words = ["--resume"] if resume and self.trains else []
        words += [self.overwrite_argument] if overwrite and self.overwrite_argument else []
        return [*self.command[:2], *words, *self.command[2:]]

    def to_json(self) -> dict[str, Any]:
        """Return the job in a form that JSON can hold, with its needs by their keys."""
        content = {name: getattr(self, name) for name in Job.__dataclass_fields__}
        return {
            **content,
            "folder": str(self.folder),
            "result": str(self.result or ""),
            "needs": [n.key for n in self.needs],
        }

    @classmethod
    def from_plan(cls, jobs: Mapping[str, Mapping[str, Any]], key: str) -> Job:
        """Return the job of a key, with those that it needs."""
        content = jobs[key]
        needs = tuple(cls.from_plan(jobs, need) for need in content["needs"])
        result = Path(content["result"]) if content["result"] else None
        return cls(**{**content, "folder": Path(content["folder"]), "result": result, "needs": needs})


class _Settings(msgspec.Struct):
    values: dict[str, Any] = {}


class _Need(msgspec.Struct):
    fingerprint: str
    made: str | None


class _Record(msgspec.Struct):
    """Entries of a record, each of which may be missing."""

    run: str = ""
    status: str = ""
    fingerprint: str = ""
    made: str = ""
    started: str = ""
    session: str = ""
    reason: str = ""
    message: str = ""
    environment: dict[str, str] = {}
    settings: _Settings = msgspec.field(default_factory=_Settings)
    needs: dict[str, _Need] = {}
    command: list[str] = []
    attempts: int = 0
    threads: int = 0
    side_by_side: int = 0
    pid: int = 0
    log_start: int = 0
    seconds: float = 0.0
    resumed: bool = False
    seed: int | None = None
    gpu: str | None = None
    replaced: str | None = None
    result_sha256: str | None = None


class _RunRecord(msgspec.Struct):
    """What the job reads of the tool's own run.json."""

    mode: str = ""
    status: str = ""


def read_record(folder: Path) -> dict[str, Any]:
    """Read the suite's record in a folder; empty if there is none that can be read and has the right structure."""
    return _read_json(folder / RECORD, _Record)


def write_record(folder: Path, content: Mapping[str, Any]) -> None:
    """Replace the record as a whole."""
    write_json(folder / RECORD, content)


def state(job: Job) -> State:
    """Return what the files in a job's own folder leave to do."""
    record = read_record(job.folder)
    if not record:
        occupied = job.folder.is_dir() and any(job.folder.iterdir())
        return State(Action.REPLACE, "its folder was not made by this suite") if occupied else State(Action.START)
    if record.get("fingerprint") != job.fingerprint:
        return State(Action.REPLACE, difference(job, record))
    for need in job.needs:
        if read_record(need.folder) and not _built_on(record, need):
            return State(Action.REPLACE, f"{need.name} was run again since")
    if _has_finished(job, record):
        return State(Action.NONE)
    lost = lost_result(job, record) if record.get("status") == "finished" else None
    # A program with a `result` resumes by itself, and its result is the same for those that build on it.
    resumable = (job.folder / "last_checkpoint").is_file() if job.trains else job.result is not None
    return State(Action.RESUME if resumable else Action.START, lost or str(record.get("status", "")))


def _has_finished(job: Job, record: Mapping[str, Any]) -> bool:
    """Return whether the job finished, by its record or, if that was cut off, by the tool's own run.json."""
    status = record.get("status")
    if status == "running" and job.mode:
        own = _read_json(job.folder / "run.json", _RunRecord)
        status = own.get("status") if own.get("mode") == job.mode else status
    return status == "finished" and lost_result(job, record) is None


def missing_result(job: Job) -> str | None:
    """Return the first file that the job should have written but did not."""
    for pattern in job.expects:
        if not any(job.folder.glob(pattern)):
            return pattern
    return str(job.result) if job.result is not None and not job.result.exists() else None


def lost_result(job: Job, record: Mapping[str, Any]) -> str | None:
    """Describe the files that a finished job has lost; None: none.

    What it made outside its folder must be what it was: another suite may have put something else in its place.
    """
    missing = missing_result(job)
    if missing is not None:
        return f"{missing} is gone"
    digest = record.get("result_sha256")
    return f"{job.result} has changed" if digest and digest != result_digest(job) else None


def difference(job: Job, record: Mapping[str, Any]) -> str:
    """Describe what differs from the settings that a folder was made with."""
    old, new = record.get("settings", {}), job.settings
    before, now = old.get("values", {}), new["values"]
    changes = [
        f"{key} was {before.get(key, '(default)')}, is {now.get(key, '(default)')}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    changes += [f"its {key} changed" for key in new if key != "values" and old.get(key) != new[key]]
    needed = record.get("needs", {})
    changes += [
        f"the settings of {need.name} changed"
        for need in job.needs
        if needed.get(need.name, {}).get("fingerprint") != need.fingerprint
    ]
    return "; ".join(changes) or "what it needs changed"


def locked_log(folder: Path) -> IO[bytes]:
    """Open the log in a run's folder at its end, and lock it.

    Raises:
        portalocker.LockException: another process has it.
    """
    log = open(folder / LOG, "ab")  # noqa: SIM115  # the caller closes it
    try:
        portalocker.lock(log, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.LockException:
        log.close()
        raise
    return log


def in_use(folder: Path) -> bool:
    """Return whether a process of a suite is running in the folder."""
    if (folder / LOG).is_file():
        try:
            locked_log(folder).close()
        except portalocker.LockException:
            return True
    return False


def put_aside(job: Job, old: Path) -> Path | None:
    """Move a job's folder into the folder `old` unless it is empty, and return its new place."""
    if not job.folder.exists():
        return None
    if not any(job.folder.iterdir()):
        job.folder.rmdir()
        return None
    old.mkdir(parents=True, exist_ok=True)
    base = f"{job.folder.parent.name}_{job.folder.name}"
    number = next(k for k in range(1, 10**6) if not (old / f"{base}.{k}").exists())
    return Path(shutil.move(job.folder, old / f"{base}.{number}"))


def bring_back(job: Job, old: Path) -> bool:
    """Move a finished folder with the job's present settings back from `old`, and return whether there is one."""
    for folder in sorted(old.glob(f"{job.folder.parent.name}_{job.folder.name}.*")):
        record = read_record(folder)
        same = record.get("fingerprint") == job.fingerprint and all(_built_on(record, need) for need in job.needs)
        if same and record.get("status") == "finished":
            put_aside(job, old)
            job.folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder, job.folder)
            return True
    return False


def last_lines(folder: Path, start: int, count: int = 15) -> list[str]:
    """Return the last lines that an attempt wrote into its log, from byte `start` on."""
    with open(folder / LOG, "rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace").splitlines()[-count:]


def needs_of(job: Job) -> dict[str, dict[str, Any]]:
    """Return what a job builds on, for its record: settings, and the time when it was made."""
    return {n.name: {"fingerprint": n.fingerprint, "made": read_record(n.folder).get("made")} for n in job.needs}


def _built_on(record: Mapping[str, Any], need: Job) -> bool:
    return record.get("needs", {}).get(need.name, {}).get("made") == read_record(need.folder).get("made")


def result_digest(job: Job) -> str | None:
    """Return the SHA-256 of the file that the job made outside its folder; None if there is no such file."""
    if job.result is None or not job.result.is_file():
        return None
    with open(job.result, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path, kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Read a JSON object as it is; empty if it cannot be read, or not as `kind`."""
    try:
        content = read_json(path, dict[str, Any], limit=_LARGEST)
        msgspec.convert(content, kind)
    except (OSError, UnusableFile, msgspec.ValidationError):
        return {}
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
