"""Folders of a suite -> results: one tidy table of figures, and what else each run and seed left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd

from ..data.output_split import read_manifest
from ..engine.run_record import read_record as read_run_record
from .checks import check_configs
from .job_record import Action, lost_result, read_record, state
from .leak_free import find_leaks
from .measures import Task
from .metrics_files import history, metrics_file, read_json, read_lines, training_seconds
from .provenance import Provenance
from .runs import Run, RunJob, Suite


@dataclass
class SeedResult:
    """One run with one seed."""

    status: str  # "finished", "outdated" (of other settings than the present), "failed", "not run", …
    message: str = ""
    values: dict[str, float] = field(default_factory=dict)  # by key of the measure
    details: dict[str, Any] = field(default_factory=dict)
    history: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    own_seconds: float | None = None  # of training, or of a step
    training_seconds: float | None = None  # with those of all trainings that it builds on
    step_seconds: dict[str, float | None] = field(default_factory=dict)  # by name of the steps that it builds on
    wall_seconds: float | None = None  # of the process: start-up, training, evaluations
    parameters: dict[str, int] | None = None  # of the model as built: total, trainable
    command: list[str] = field(default_factory=list)
    threads: int | None = None
    side_by_side: int | None = None
    provenance: Provenance = field(default_factory=Provenance)
    folder: Path | None = None

    @property
    def there(self) -> bool:
        """Whether its figures count: those of other settings than the present do not."""
        return self.status == "finished"


@dataclass
class Row:
    """One run over its seeds."""

    run: Run
    seeds: dict[str, SeedResult]  # by seed; "once"
    leak: str | None = None  # ground truth of Out that it has seen, in words
    summary: pd.DataFrame | None = None  # by measure: mean, std and count over seeds

    @property
    def leak_free(self) -> bool:
        return self.leak is None

    @property
    def not_run(self) -> bool:
        return all(s.status == "not run" for s in self.seeds.values())

    @property
    def there(self) -> list[SeedResult]:
        """Results whose figures count."""
        return [s for s in self.seeds.values() if s.there]

    @property
    def parameters(self) -> int | None:
        """Of the model as built."""
        return self.there[0].parameters.get("total") if self.there and self.there[0].parameters else None

    def mean(self, key: str) -> float | None:
        return self._figure(key, "mean")

    def std(self, key: str) -> float | None:
        """Sample standard deviation (n - 1 in the denominator); None for fewer than two values."""
        return self._figure(key, "std")

    def _figure(self, key: str, column: str) -> float | None:
        if self.summary is None or key not in self.summary.index:
            return None
        value = self.summary.at[key, column]
        return None if pd.isna(value) else float(value)


@dataclass
class Results:
    """Everything that a suite found."""

    suite: Suite
    rows: list[Row]  # of all runs, also those that have no row in the table
    frame: pd.DataFrame  # tidy: one line a run, seed and measure
    made: str  # when they were read

    @property
    def task(self) -> Task:
        return self.suite.task

    def table(self) -> list[Row]:
        """Rows of methods that were run, or ought to have been."""
        return [row for row in self.rows if row.run.has_row and not row.not_run]

    def not_run(self) -> list[Row]:
        """Rows that would be in the table, had anybody asked for them."""
        return [row for row in self.rows if row.run.has_row and row.not_run]

    def competitors(self, key: str) -> list[Row]:
        """Leak-free methods with a figure, without the corners of the comparison."""
        rows = [row for row in self.table() if row.leak_free and row.run.competes and not row.run.role]
        return [row for row in rows if row.mean(key) is not None]

    def best(self, key: str) -> Row | None:
        """The competitor with the highest figure."""
        return max(self.competitors(key), key=lambda row: row.mean(key) or 0.0, default=None)

    def row(self, *, role: str) -> Row | None:
        """The row with a role, if there is one with figures."""
        return next((r for r in self.rows if r.run.role == role and r.there), None)

    def extra_parameters(self, row: Row) -> int | None:
        """Parameters of the model as built, beyond those of :meth:`plain`; None: not known."""
        if row.run.extra_parameters is not None and row.there:
            return row.run.extra_parameters
        plain = self.plain()
        return None if plain is None or row.parameters is None else row.parameters - plain.parameters

    def plain(self) -> Row | None:
        """The row of a single model that others are compared with by size: zero shot, else the lower bound."""
        rows = [self.row(role=role) for role in ("zero_shot", "lower_bound")]
        return next((row for row in rows if row is not None and row.parameters is not None), None)

    def provenances(self) -> dict[str, Provenance]:
        """Where the runs of the present figures were run, by what the runs are called."""
        return {
            row.run.label if seed == "once" else f"{row.run.label}, seed {seed}": result.provenance
            for row in self.rows
            for seed, result in row.seeds.items()
            if result.there and not row.run.of
        }

    def as_json(self) -> dict[str, Any]:
        """For results.json."""
        return {
            "title": self.suite.title,
            "made": self.made,
            "seeds": list(self.suite.seeds),
            "measures": {m.key: m.label for m in self.task.measures},
            "runs": {row.run.name: self._row_as_json(row) for row in self.rows},
            "published": {"source": self.suite.published_source, "rows": [dict(row) for row in self.suite.published]},
        }

    def _row_as_json(self, row: Row) -> dict[str, Any]:
        seeds = {seed: asdict(result) for seed, result in row.seeds.items()}
        for content in seeds.values():
            del content["folder"]  # another one on each machine
        return {
            "label": row.run.label,
            "role": row.run.role or None,
            "leak_free": row.leak_free,
            "leak": row.leak,
            "extra_parameters": self.extra_parameters(row) if row.run.has_row else None,
            "mean": {m.key: row.mean(m.key) for m in self.task.measures},
            "std": {m.key: row.std(m.key) for m in self.task.measures},
            "n": len(row.there),
            "training_seconds": row.mean("training_seconds"),
            "seeds": seeds,
        }


def gather(suite: Suite, jobs: Sequence[RunJob]) -> Results:
    """Read what the folders of all jobs hold.

    Args:
        jobs: of all runs and seeds of the suite.
    """
    by_run = {(job.name, job.seed): job for job in jobs}
    leaks = find_leaks(jobs, check_configs(jobs, check=False), suite.output)
    rows = []
    for run in suite.runs:
        own = [(None, "once")] if run.once else [(seed, str(seed)) for seed in suite.seeds]
        found = {text: _seed_result(suite.task, run, by_run[run.of or run.name, seed]) for seed, text in own}
        rows.append(Row(run, found, leaks.get(run.of or run.name)))
    frame = tidy(rows)
    summary = frame.groupby(["run", "measure"])["value"].agg(["mean", "std", "count"])
    for row in rows:
        row.summary = summary.loc[row.run.name] if row.run.name in summary.index else None
    return Results(suite, rows, frame, datetime.now(timezone.utc).isoformat(timespec="seconds"))


def tidy(rows: Iterable[Row]) -> pd.DataFrame:
    """One line a run, seed and measure, of the results that count.

    Returns:
        Columns ``run``, ``seed``, ``measure``, ``value``; training time in seconds is a measure, too.
    """
    lines = []
    for row in rows:
        for seed, result in row.seeds.items():
            if result.there:
                figures = {**result.values, "training_seconds": result.training_seconds}
                lines += [(row.run.name, seed, key, value) for key, value in figures.items() if value is not None]
    return pd.DataFrame(lines, columns=["run", "seed", "measure", "value"]).astype({"value": float})


def mean_curve(curves: Iterable[Mapping[float, float]]) -> pd.DataFrame:
    """Average curves over seeds.

    Args:
        curves: ``{x: y}`` of each seed.
    Returns:
        Columns ``mean`` and ``std`` (NaN of a single seed), by every x that all curves have, in order.
    """
    series = [pd.Series(dict(curve), dtype=float) for curve in curves]
    if not series:
        return pd.DataFrame({"mean": [], "std": []})
    table = pd.concat(series, axis="columns", join="inner").sort_index()
    return pd.DataFrame({"mean": table.mean(axis="columns"), "std": table.std(axis="columns")})


def _seed_result(task: Task, run: Run, job: RunJob) -> SeedResult:
    """Read one result.

    Args:
        run: the row; `job` is its own, or that of the run whose files it is read from.
    """
    record, left = read_record(job.folder), state(job)
    outdated = left.action is Action.REPLACE and record.get("status") == "finished"
    if left.action is not Action.NONE and not outdated:
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
        _read_figures(result, task, run, job.folder)
    except ValueError as error:
        return SeedResult("failed", str(error))
    if not run.of:
        result.history = {m.key: found for m in (*task.measures, *task.logged) if m.scalar and (found := history(lines, m))}
    return result


def _without_result(job: RunJob, record: Mapping[str, Any]) -> SeedResult:
    if record:
        return SeedResult(record.get("status", "failed"), record.get("message", ""))
    for origin in job.origins.values():
        failed = read_record(origin.folder)
        if origin is not job and failed.get("status") == "failed":
            said = failed.get("message")
            return SeedResult("left out", f"{origin.name} failed" + (f" ({said})" if said else ""))
    return SeedResult("not run")


def _read_figures(result: SeedResult, task: Task, run: Run, folder: Path) -> None:
    if run.curve:
        points = read_json(folder / run.curve).get("points", [])
        result.curve = [{"alpha": point["alpha"], **task.figures_of_point(point)} for point in points]
    if run.curve_row is not None:
        chosen = [p for p in result.curve if abs(p["alpha"] - run.curve_row) < 1e-6]
        if not chosen:
            raise ValueError(f"{folder / run.curve} has no point at alpha {run.curve_row}.")
        result.values = {key: value for key, value in chosen[0].items() if key != "alpha"}
    elif run.metrics:
        path = metrics_file(folder, run.metrics)
        if path is None:
            raise ValueError(f"There is no inference/*/{run.metrics} in {folder}.")
        content = read_json(path)
        result.values, result.details = task.figures_of_file(content), task.details(content)


def _training_seconds(job: RunJob) -> float | None:
    """Of a job and all that it builds on; None where a record of these is gone."""
    origins = job.origins.values()
    if not all(read_record(origin.folder) for origin in origins):
        return None
    return sum(training_seconds(read_lines(j.folder / "metrics.json")) for j in origins if j.trains)


def _step_seconds(job: RunJob) -> float | None:
    """What a step took; None: nobody wrote it down.

    The manifest of a dataset tells it, since the dataset may have been there before, so that the step had nothing to do.
    """
    record, made = read_record(job.folder), job.result
    if made is None:
        return record.get("seconds")
    if lost_result(job, record):
        return None
    seconds = [split.get("seconds") for split in read_manifest(made if made.is_dir() else made.parent)["splits"].values()]
    if not seconds:  # not a dataset
        return record.get("seconds")
    return None if None in seconds else sum(seconds)
