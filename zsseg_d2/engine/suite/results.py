"""Folders of a suite -> results: for every row and seed the figures, times, parameters, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from ...data.panoptic.split_writer import read_manifest
from ..run_record import read_record
from . import records
from .checks import check_configs
from .figures import (deviation, history, mean, read_json, read_lines, training_seconds)
from .jobs import Job
from .leaks import find_leaks
from .measures import Task
from .provenance import Provenance
from .records import Action
from .spec import (RunSpec, Suite)


@dataclass
class SeedResult:
    """One run with one seed."""

    status: str  # "finished", "outdated" (of other settings than the present), "failed", "not run", …
    message: str = ""
    values: dict[str, float] = field(default_factory=dict)  # by key of the measure
    details: dict = field(default_factory=dict)
    history: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    curve: list[dict] = field(default_factory=list)
    own_seconds: float | None = None  # of training, or of a step
    training_seconds: float | None = None  # with those of all trainings that it builds on
    step_seconds: dict[str, float | None] = field(default_factory=dict)  # by name of the steps that it builds on
    wall_seconds: float | None = None  # of the process: start-up, training, evaluations
    parameters: dict | None = None  # of the model as built: total, trainable
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

    spec: RunSpec
    seeds: dict[str, SeedResult]  # by seed; "once"
    leak: str | None = None  # ground truth of Out that it has seen, in words

    @property
    def leak_free(self) -> bool:
        return self.leak is None

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

    @property
    def parameters(self) -> int | None:
        """Of the model as built."""
        first = self.first()
        return first.parameters.get("total") if first and first.parameters else None

    def first(self) -> SeedResult | None:
        """The first result that is there."""
        return next((s for s in self.seeds.values() if s.there), None)


@dataclass
class Results:
    """Everything that a suite found."""

    suite: Suite
    rows: list[Row]  # of all runs, also those that have no row in the table
    made: str  # when they were read

    @property
    def task(self) -> Task:
        return self.suite.task

    def table(self) -> list[Row]:
        """Rows of methods that were run, or ought to have been."""
        return [row for row in self.rows if row.spec.has_row and not row.not_run]

    def competitors(self) -> list[Row]:
        """Leak-free methods that are no corner of the comparison."""
        return [row for row in self.table() if row.leak_free and row.spec.competes and not row.spec.role]

    def not_run(self) -> list[Row]:
        """Rows that would stand in the table, had anybody asked for them."""
        return [row for row in self.rows if row.spec.has_row and row.not_run]

    def row(self, *, role: str) -> Row | None:
        """The row with a role, if there is one with figures."""
        return next((r for r in self.rows if r.spec.role == role and r.first() is not None), None)

    def extra_parameters(self, row: Row) -> int | None:
        """Parameters of the model as built, beyond those of :meth:`plain`; None: not known."""
        if row.spec.extra_parameters is not None and row.first():
            return row.spec.extra_parameters
        plain = self.plain()
        return None if plain is None or row.parameters is None else row.parameters - plain.parameters

    def plain(self) -> Row | None:
        """The row of a single model that others are compared with by size: zero shot, else the lower bound."""
        rows = [self.row(role=role) for role in ("zero_shot", "lower_bound")]
        return next((row for row in rows if row is not None and row.parameters is not None), None)

    def provenances(self) -> dict[str, Provenance]:
        """Where the runs of the present figures were run, by what the runs are called."""
        return {
            row.spec.label if seed == "once" else f"{row.spec.label}, seed {seed}": result.provenance
            for row in self.rows
            for seed, result in row.seeds.items()
            if result.there and not row.spec.of
        }

    def as_json(self) -> dict:
        """For results.json."""
        runs = {}
        for row in self.rows:
            runs[row.spec.name] = {
                "label": row.spec.label,
                "role": row.spec.role or None,
                "leak_free": row.leak_free,
                "leak": row.leak,
                "extra_parameters": self.extra_parameters(row) if row.spec.has_row else None,
                "mean": {m.key: row.mean(m.key) for m in self.task.measures},
                "std": {m.key: row.deviation(m.key) for m in self.task.measures},
                "n": len([s for s in row.seeds.values() if s.there]),
                "training_seconds": row.mean_of("training_seconds"),
                "seeds": {seed: _plain(result) for seed, result in row.seeds.items()},
            }
        return {
            "title": self.suite.title,
            "made": self.made,
            "seeds": list(self.suite.seeds),
            "measures": {m.key: m.label for m in self.task.measures},
            "runs": runs,
            "published": {"source": self.suite.published_source, "rows": [dict(row) for row in self.suite.published]},
        }


def _plain(result: SeedResult) -> dict:
    """For JSON, without the folder, which is another on each machine."""
    return {key: value for key, value in asdict(result).items() if key != "folder"}


def gather(suite: Suite, jobs: Sequence[Job]) -> Results:
    """Read what the folders of all jobs hold.

    Args:
        jobs: of all runs and seeds of the suite.
    """
    by_run = {(job.spec.name, job.seed): job for job in jobs}
    leaks = find_leaks(jobs, check_configs(jobs, check=False), suite.output)
    rows = []
    for spec in suite.runs:
        own = [(None, "once")] if spec.once else [(seed, str(seed)) for seed in suite.seeds]
        found = {text: _seed_result(suite.task, spec, by_run[spec.of or spec.name, seed]) for seed, text in own}
        rows.append(Row(spec, found, leaks.get(spec.of or spec.name)))
    return Results(suite, rows, datetime.now(timezone.utc).isoformat(timespec="seconds"))


def _seed_result(task: Task, spec: RunSpec, job: Job) -> SeedResult:
    """
    Args:
        spec: the row; `job` is its own, or that of the run whose files it is read from.
    """
    record, state = records.read(job.folder), records.state(job)
    outdated = state.action is Action.REPLACE and record.get("status") == "finished"
    if state.action is not Action.NONE and not outdated:
        return _without_result(job, {} if state.action is Action.REPLACE else record)
    lines, run = read_lines(job.folder / "metrics.json") if job.spec.trains else [], read_record(job.folder)
    result = SeedResult(
        "outdated" if outdated else "finished",
        state.reason,
        own_seconds=_step_seconds(job) if job.spec.is_step else training_seconds(lines),
        training_seconds=_training_seconds(job),
        step_seconds={j.spec.name: _step_seconds(j) for j in job.origins.values() if j.spec.is_step and j is not job},
        wall_seconds=record.get("seconds"),
        parameters=run.get("parameters"),
        command=record.get("command", []),
        threads=record.get("threads"),
        side_by_side=record.get("side_by_side"),
        provenance=Provenance.of(run),
        folder=job.folder,
    )
    try:
        _read_figures(result, task, spec, job.folder)
    except ValueError as error:
        return SeedResult("failed", str(error))
    if not spec.of:
        result.history = {m.key: found for m in (*task.measures, *task.logged) if m.scalar and (found := history(lines, m))}
    return result


def _without_result(job: Job, record: dict) -> SeedResult:
    if record:
        return SeedResult(record.get("status", "failed"), record.get("message", ""))
    for origin in job.origins.values():
        failed = records.read(origin.folder)
        if origin is not job and failed.get("status") == "failed":
            said = failed.get("message")
            return SeedResult("left out", f"{origin.spec.name} failed" + (f" ({said})" if said else ""))
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
    origins = job.origins.values()
    if not all(records.read(origin.folder) for origin in origins):
        return None
    return sum(training_seconds(read_lines(j.folder / "metrics.json")) for j in origins if j.spec.trains)


def _step_seconds(job: Job) -> float | None:
    """What a step took; None: nobody wrote it down.

    Of a data set its manifest says it, since it may have been there before, so that the step had nothing to do.
    """
    record, made = records.read(job.folder), job.result
    if made is None:
        return record.get("seconds")
    if records.lost_result(job, record):
        return None
    seconds = [split.get("seconds") for split in read_manifest(made if made.is_dir() else made.parent)["splits"].values()]
    if not seconds:  # no data set
        return record.get("seconds")
    return None if None in seconds else sum(seconds)
