"""Folders of a suite -> results: for every row and seed the figures, times, parameters, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from ..run_record import git_commit, read_record
from . import records
from .figures import deviation, history, mean, read_json, read_lines, training_seconds
from .jobs import Job
from .machine import describe
from .measures import Task
from .records import Action
from .spec import RunSpec, Suite


@dataclass
class SeedResult:
    """One run with one seed."""

    status: str  # "finished", "outdated" (of other settings than the present), "failed", "not run", …
    message: str = ""
    values: dict[str, float] = field(default_factory=dict)  # by key of the measure
    details: dict = field(default_factory=dict)
    history: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    curve: list[dict] = field(default_factory=list)
    own_seconds: float | None = None  # of training, or of a step without metrics
    training_seconds: float | None = None  # with those of all runs that it builds on
    wall_seconds: float | None = None  # of the process: start-up, training, evaluations
    parameters: dict | None = None  # of the model as built: total, trainable
    command: list[str] = field(default_factory=list)
    threads: int | None = None
    side_by_side: int | None = None

    @property
    def there(self) -> bool:
        return self.status in ("finished", "outdated")


@dataclass
class Row:
    """One run over its seeds."""

    spec: RunSpec
    seeds: dict[str, SeedResult]  # by seed; "once"

    @property
    def not_run(self) -> bool:
        return all(s.status == "not run" for s in self.seeds.values())

    def values(self, key: str) -> list[float]:
        return [s.values[key] for s in self.seeds.values() if s.there and key in s.values]

    def mean(self, key: str) -> float | None:
        return mean(self.values(key))

    def deviation(self, key: str) -> float | None:
        return deviation(self.values(key))

    def mean_of(self, attribute: str) -> float | None:
        """Mean of an attribute of the seeds' results."""
        values = [getattr(s, attribute) for s in self.seeds.values() if s.there]
        return mean([v for v in values if v is not None])

    def first(self) -> SeedResult | None:
        """The first result that is there."""
        return next((s for s in self.seeds.values() if s.there), None)


@dataclass
class Results:
    """Everything that a suite found."""

    suite: Suite
    rows: list[Row]  # of all runs, also those that have no row in the table
    machine: dict
    made: str

    @property
    def task(self) -> Task:
        return self.suite.task

    def table(self) -> list[Row]:
        """Rows of methods that were run, or ought to have been."""
        return [row for row in self.rows if row.spec.has_row and not row.not_run]

    def competitors(self) -> list[Row]:
        """Leak-free methods that are no corner of the comparison."""
        return [row for row in self.table() if row.spec.leak_free and row.spec.competes and not row.spec.role]

    def not_run(self) -> list[Row]:
        """Rows that would stand in the table, had anybody asked for them."""
        return [row for row in self.rows if row.spec.has_row and row.not_run]

    def row(self, *, role: str) -> Row | None:
        """The row with a role, if there is one with figures."""
        return next((r for r in self.rows if r.spec.role == role and r.first() is not None), None)

    def extra_parameters(self, row: Row) -> int | None:
        """Parameters of the model as built, above those of the smallest in the table; None: not known."""
        if row.spec.extra_parameters is not None and row.first():
            return row.spec.extra_parameters
        totals = {r.spec.name: r.first().parameters["total"] for r in self.table() if r.first() and r.first().parameters}
        return totals[row.spec.name] - min(totals.values()) if row.spec.name in totals else None

    def as_json(self) -> dict:
        """For results.json."""
        runs = {}
        for row in self.rows:
            runs[row.spec.name] = {
                "label": row.spec.label,
                "role": row.spec.role or None,
                "leak_free": row.spec.leak_free,
                "extra_parameters": self.extra_parameters(row) if row.spec.has_row else None,
                "mean": {m.key: row.mean(m.key) for m in self.task.measures},
                "std": {m.key: row.deviation(m.key) for m in self.task.measures},
                "n": len([s for s in row.seeds.values() if s.there]),
                "training_seconds": row.mean_of("training_seconds"),
                "seeds": {seed: asdict(result) for seed, result in row.seeds.items()},
            }
        return {
            "title": self.suite.title,
            "made": self.made,
            "git_commit": git_commit(),
            "machine": self.machine,
            "seeds": list(self.suite.seeds),
            "measures": {m.key: m.label for m in self.task.measures},
            "runs": runs,
            "published": {"source": self.suite.published_source, "rows": [dict(row) for row in self.suite.published]},
        }


def gather(suite: Suite, jobs: Sequence[Job]) -> Results:
    """Read what the folders of all jobs hold.

    Args:
        jobs: of all runs and seeds of the suite.
    """
    by_run = {(job.spec.name, job.seed): job for job in jobs}
    rows = []
    for spec in suite.runs:
        own = [(None, "once")] if spec.once else [(seed, str(seed)) for seed in suite.seeds]
        found = {text: _seed_result(suite.task, spec, by_run[spec.of or spec.name, seed]) for seed, text in own}
        rows.append(Row(spec, found))
    return Results(suite, rows, describe(), datetime.now(timezone.utc).isoformat(timespec="seconds"))


def _seed_result(task: Task, spec: RunSpec, job: Job) -> SeedResult:
    """
    Args:
        spec: the row; `job` is its own, or that of the run whose files it is read from.
    """
    record, state = records.read(job.folder), records.state(job)
    outdated = state.action is Action.REPLACE and record.get("status") == "finished"
    if state.action is not Action.NONE and not outdated:
        return _without_result(job, {} if state.action is Action.REPLACE else record)
    lines = read_lines(job.folder / "metrics.json") if job.spec.trains else []
    result = SeedResult(
        "outdated" if outdated else "finished",
        state.reason,
        own_seconds=own_seconds(job, record, lines),
        training_seconds=_training_seconds(job),
        wall_seconds=record.get("seconds"),
        parameters=read_record(job.folder).get("parameters"),
        command=record.get("command", []),
        threads=record.get("threads"),
        side_by_side=record.get("side_by_side"),
    )
    try:
        _read_figures(result, task, spec, job.folder)
    except ValueError as error:
        return SeedResult("failed", str(error))
    if not spec.of:
        result.history = {m.key: found for m in task.measures if m.scalar and (found := history(lines, m))}
    return result


def _without_result(job: Job, record: dict) -> SeedResult:
    if record:
        return SeedResult(record.get("status", "failed"), record.get("message", ""))
    for need in job.needs:
        if records.read(need.folder).get("status") == "failed":
            return SeedResult("left out", f"{need.spec.name} failed")
    return SeedResult("not run")


def _read_figures(result: SeedResult, task: Task, spec: RunSpec, folder: Path) -> None:
    if spec.curve:
        points = read_json(folder / spec.curve).get("points", [])
        result.curve = [{"alpha": point["alpha"], **task.figures_of_point(point)} for point in points]
    if spec.curve_row is not None:
        chosen = [p for p in result.curve if abs(p["alpha"] - spec.curve_row) < 1e-6]
        if not chosen:
            raise ValueError(f"{folder / spec.curve} has no point at alpha {spec.curve_row}.")
        result.values = {key: value for key, value in chosen[0].items() if key != "alpha"}
    elif spec.metrics:
        path = records.metrics_file(folder, spec.metrics)
        if path is None:
            raise ValueError(f"There is no inference/*/{spec.metrics} in {folder}.")
        content = read_json(path)
        result.values, result.details = task.figures_of_file(content), task.details(content)


def _training_seconds(job: Job) -> float | None:
    """Of a job and all that it builds on; None where a record of these is gone."""
    total = 0.0
    for origin in job.origins.values():
        record = records.read(origin.folder)
        if not record:
            return None
        total += own_seconds(origin, record, read_lines(origin.folder / "metrics.json") if origin.spec.trains else [])
    return total


def own_seconds(job: Job, record: dict, lines: Sequence[dict]) -> float:
    """Seconds of training; of a step without metrics, such as making pseudo-labels, those of its process; else 0."""
    if job.spec.trains:
        return training_seconds(lines)
    return 0.0 if job.spec.has_row or job.spec.curve else float(record.get("seconds") or 0.0)
