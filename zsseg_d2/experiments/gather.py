"""Folders of a suite -> results."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ..data.panoptic.split_writer import read_manifest
from ..engine.checkpoints.resuming import FINAL
from ..engine.run_record import read_record as read_run_record
from ..reading import MB, UnusableFile, read_bytes
from ..reading import read_json as read_whole_json
from .checks import check_configs
from .job_record import Action, lost_result, missing_result, read_record, state
from .leak_free import find_leaks, find_unknown
from .measures import Details, Measure
from .results import Provenance, Results, Row, SeedResult, tidy
from .runs import Run, RunJob, Suite


def gather(suite: Suite, jobs: Sequence[RunJob]) -> Results:
    """Read the folders of all jobs.

    Args:
        jobs: of all runs and seeds of the suite.
    """
    by_run = {(job.name, job.seed): job for job in jobs}
    configs = check_configs(suite.path, jobs, check=False)
    leaks, unknown = find_leaks(jobs, configs, suite.output), find_unknown(jobs, configs, suite.output)
    rows = []
    for run in suite.runs:
        own = [(seed, "once" if seed is None else str(seed)) for seed in suite.seeds_of(run)]
        found = {text: _seed_result(suite, run, by_run[run.of or run.name, seed]) for seed, text in own}
        name = run.of or run.name
        rows.append(Row(run, found, leaks.get(name), unknown.get(name)))
    frame = tidy(rows)
    summary = frame.groupby(["run", "measure"])["value"].agg(["mean", "std", "count"])
    for row in rows:
        row.summary = summary[summary.index.get_level_values("run") == row.run.name].droplevel("run")
    return Results(suite, rows, frame, datetime.now(UTC).isoformat(timespec="seconds"))


def _seed_result(suite: Suite, run: Run, job: RunJob) -> SeedResult:
    """Read one result.

    Args:
        run: the row; `job` is its own, or that of the run whose files it is read from.
    """
    record, left = read_record(job.folder), state(job)
    finished = record.get("status") == "finished"
    outdated = left.action is Action.REPLACE and finished
    has_figures = outdated or (finished and missing_result(job) == FINAL)  # of weights that are gone
    if left.action is not Action.NONE and not has_figures:
        return _without_result(job, {} if left.action is Action.REPLACE else record)
    lines = read_lines(job.folder / "metrics.json") if job.trains else []
    own = read_run_record(job.folder)
    result = SeedResult(
        "outdated" if outdated else "finished",
        left.reason,
        own_seconds=_step_seconds(job) if job.run.is_step else training_seconds(lines),
        training_seconds=_training_seconds(job),
        step_seconds={j.name: _step_seconds(j) for j in job.origins.values() if j.run.is_step and j is not job},
        wall_seconds=record.get("seconds"),
        parameters=own.get("parameters"),
        command=record.get("command", []),
        threads=record.get("threads"),
        side_by_side=record.get("side_by_side"),
        provenance=Provenance.of(own),
        folder=job.folder,
    )
    try:
        _read_figures(result, suite, run, job.folder)
    except (AttributeError, KeyError, TypeError, msgspec.ValidationError) as error:
        return SeedResult("failed", f"its scores in {job.folder} have not the structure of such files ({error!r})")
    except ValueError as error:
        return SeedResult("failed", str(error))
    logged = (*suite.task.measures, *suite.task.logged) if not run.of else ()
    result.history = {m.key: found for m in logged if m.scalar and (found := history(lines, m))}
    return result


def _without_result(job: RunJob, record: Mapping[str, Any]) -> SeedResult:
    if record:
        return SeedResult(record.get("status", "failed"), record.get("message", ""))
    for origin in job.origins.values():
        failed = read_record(origin.folder)
        if origin is not job and failed.get("status") == "failed":
            message = failed.get("message")
            return SeedResult("left out", f"{origin.name} failed" + (f" ({message})" if message else ""))
    return SeedResult("not run")


def _read_figures(result: SeedResult, suite: Suite, run: Run, folder: Path) -> None:
    task = suite.task
    if run.curve:
        points = read_json(folder / run.curve).get("points", [])
        result.curve = [{"alpha": point["alpha"], **task.figures_of_point(point)} for point in points]
    if run.curve_row is not None:
        chosen = [p for p in result.curve if abs(p["alpha"] - run.curve_row) < 1e-6]
        if not chosen:
            raise ValueError(f"{folder / run.curve} has no point at alpha {run.curve_row}.")
        result.values = {key: value for key, value in chosen[0].items() if key != "alpha"}
    elif run.metrics:
        path = metrics_file(suite, folder, run.metrics)
        if path is None:
            raise ValueError(f"{folder} has no inference/*/{run.metrics}.")
        content = read_json(path)
        result.values, result.details = task.figures_of_file(content), task.details(content)
        msgspec.convert(result.details, Details)
        shown = {measure.key for measure in suite.measures}
        for prefix, dataset in suite.further.items():
            content = read_json(folder / "inference" / dataset / run.metrics)
            found = {f"{prefix}{key}": value for key, value in task.figures_of_file(content).items()}
            result.values |= {key: value for key, value in found.items() if key in shown}
            result.further_details[prefix] = task.details(content)
            msgspec.convert(result.further_details[prefix], Details)


def _training_seconds(job: RunJob) -> float | None:
    """Return the seconds of a job and all that it builds on; None where a record of these is gone."""
    origins = job.origins.values()
    if not all(read_record(origin.folder) for origin in origins):
        return None
    return sum(training_seconds(read_lines(j.folder / "metrics.json")) for j in origins if j.trains)


def _step_seconds(job: RunJob) -> float | None:
    """Return the seconds of a step; None where they are not recorded.

    A dataset's manifest goes first: if the dataset was there before, the step had nothing to do.
    """
    record, made = read_record(job.folder), job.result
    if made is None:
        return record.get("seconds")
    if lost_result(job, record):
        return None
    splits = read_manifest(made if made.is_dir() else made.parent)["splits"].values()
    seconds = [split.get("seconds") for split in splits]
    if not seconds:  # not a dataset
        return record.get("seconds")
    return None if None in seconds else sum(seconds)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: the file is missing, not regular, or not a JSON object; the message names it.
    """
    try:
        return read_whole_json(path, dict[str, Any], limit=64 * MB)
    except (OSError, UnusableFile) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def metrics_file(suite: Suite, folder: Path, name: str) -> Path | None:
    """Return ``inference/<dataset>/<name>`` of DATASETS.TEST; of several datasets the first."""
    paths = sorted(folder.glob(f"inference/*/{name}"))
    return next((path for path in paths if path.parent.name not in suite.further.values()), None)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a metrics.json; of iterations that a resumed training wrote twice, the later one.

    A line that a killed process did not finish is skipped.
    """
    by_iteration: dict[int, dict[str, Any]] = {}
    try:
        lines = read_bytes(path, 512 * MB).decode("utf-8", "replace").splitlines()
    except (OSError, UnusableFile):
        lines = []
    for line in lines:
        try:
            entry = json.loads(line)
            iteration = int(entry["iteration"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
        if not isinstance(entry.get("time", 0.0), (int, float)):
            continue
        by_iteration[iteration] = by_iteration.get(iteration, {}) | entry
    return [by_iteration[k] for k in sorted(by_iteration)]


def training_seconds(lines: Sequence[Mapping[str, Any]]) -> float:
    """Sum iteration times: each line's ``time``, a median over the last 20 iterations, for all since the line before.

    Start-up, evaluations and checkpoints do not count, nor iterations that were lost and done again.
    """
    total, before = 0.0, -1
    for line in lines:
        if "time" in line:
            total += line["time"] * (line["iteration"] - before)
            before = line["iteration"]
    return total


def history(lines: Sequence[Mapping[str, Any]], measure: Measure) -> list[tuple[int, float]]:
    """Return (iterations trained, figure) of the evaluations on the way and at the end."""
    # Evaluations on the way carry the number of the iteration just done, from 0; the last one the number of iterations.
    last = max((line["iteration"] + 1 for line in lines if "time" in line), default=0)
    figures = [(min(line["iteration"] + 1, last), line.get(measure.scalar)) for line in lines]
    return [(done, figure) for done, figure in figures if isinstance(figure, (int, float)) and math.isfinite(figure)]
