"""Results of a suite: one tidy frame of figures, and what else each run and seed left."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from .measures import Measure, Task
from .runs import Run, Suite


@dataclass(frozen=True)
class Provenance:
    """Where a run was made, in words; empty where its run.json has nothing."""

    machine: str = ""
    software: str = ""
    commit: str = ""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Provenance:
        """Read it from the content of a run.json."""
        machine, versions = record.get("machine") or {}, record.get("versions") or {}
        cores = f"{machine['cpus']} cores" if machine.get("cpus") else ""
        software = [f"{name} {versions[name]}" for name in ("torch", "detectron2", "zsseg_d2") if versions.get(name)]
        return cls(
            ", ".join(part for part in (machine.get("gpu"), cores, machine.get("platform")) if part),
            ", ".join(software),
            record.get("git_commit") or "",
        )


@dataclass
class SeedResult:
    """One run with one seed, as results.json holds it."""

    status: str  # "finished", "outdated" (of other settings than the present), "failed", "not run", …
    message: str = ""
    values: dict[str, float] = field(default_factory=dict)  # by key of the measure
    details: dict[str, Any] = field(default_factory=dict)
    further_details: dict[str, dict[str, Any]] = field(default_factory=dict)  # the same of the suite's other datasets
    history: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # (iterations, figure) by measure
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
    def counts(self) -> bool:
        """Return whether its figures count: those of other settings than the present do not."""
        return self.status == "finished"


@dataclass
class Row:
    """One run over its seeds."""

    run: Run
    seeds: dict[str, SeedResult]  # by seed; "once"
    leak: str | None = None  # ground truth of Out that it has seen, in words
    unknown: str | None = None  # weights that it builds on, of which it is not known what they saw
    summary: pd.DataFrame = field(default_factory=pd.DataFrame)  # by measure: mean, std and count over seeds

    @property
    def leak_free(self) -> bool | None:
        """Whether it has seen no ground truth of Out; None: not known."""
        if self.leak is not None:
            return False
        return None if self.unknown is not None and not self.run.leak_free else True

    @property
    def not_run(self) -> bool:
        return all(s.status == "not run" for s in self.seeds.values())

    @property
    def there(self) -> list[SeedResult]:
        """The results whose figures count."""
        return [s for s in self.seeds.values() if s.counts]

    def parameters(self, kind: str = "total") -> int | None:
        """Return the number of parameters of the model as built, "total" or "trainable"; None: not known."""
        return (self.there[0].parameters or {}).get(kind) if self.there else None

    def mean(self, key: str) -> float:
        """Return the mean over seeds; NaN where there is no figure."""
        return self._figure("mean", key)

    def std(self, key: str) -> float:
        """Return the sample standard deviation (n - 1 in the denominator); NaN for fewer than two values."""
        return self._figure("std", key)

    def _figure(self, column: str, key: str) -> float:
        figures = self.summary[column].to_dict() if column in self.summary else {}
        return figures.get(key, math.nan)

    def has(self, *keys: str) -> bool:
        """Return whether there are figures of all these measures."""
        return not any(math.isnan(self.mean(key)) for key in keys)

    def history(self, measure: Measure) -> pd.DataFrame:
        """Return the mean over seeds of the evaluations on the way; see :func:`mean_curve`."""
        return mean_curve(dict(s.history[measure.key]) for s in self.there if measure.key in s.history)


@dataclass
class Results:
    """Everything that a suite found."""

    suite: Suite
    rows: list[Row]  # of all runs, also those that have no row in the table
    frame: pd.DataFrame  # see tidy()
    made: str  # when they were read

    @property
    def task(self) -> Task:
        return self.suite.task

    @property
    def shown(self) -> str:
        """Return the prefix of the figures that plots show: those of the test set where the suite has one."""
        return "test_" if self.suite.test else ""

    def table(self, *, not_run: bool = False) -> list[Row]:
        """Return the rows of the table, or those that would be in it if they had been run."""
        return [row for row in self.rows if row.run.has_row and row.not_run == not_run]

    def competitors(self, key: str) -> list[Row]:
        """Return leak-free methods with a figure.

        Corners of the comparison are left out, and points of a line: each has its own In and Out.
        """
        rows = [row for row in self.table() if row.leak_free and row.run.competes]
        rows = [row for row in rows if not row.run.role and not row.run.series]
        return [row for row in rows if row.has(key)]

    def best(self, key: str) -> Row | None:
        """Return the competitor with the highest figure on DATASETS.TEST.

        Raises:
            ValueError: the figure is of another dataset, on which nothing is chosen.
        """
        if key not in {measure.key for measure in self.task.measures}:
            raise ValueError(f"'{key}' chooses nothing: only figures of DATASETS.TEST do.")
        return max(self.competitors(key), key=lambda row: row.mean(key), default=None)

    def row(self, *, role: str) -> Row | None:
        """Return the row with a role, if there is one with results."""
        return next((r for r in self.rows if r.run.role == role and r.there), None)

    def plain(self) -> Row | None:
        """Return the row of the single model that others are compared with by size: zero shot, else lower bound."""
        rows = [self.row(role=role) for role in ("zero_shot", "lower_bound")]
        return next((row for row in rows if row is not None and row.parameters() is not None), None)

    def extra_parameters(self, row: Row) -> int | None:
        """Return the parameters of the model as built, beyond those of :meth:`plain`; None: not known."""
        if row.run.extra_parameters is not None and row.there:
            return row.run.extra_parameters
        plain = self.plain()
        own, others = row.parameters(), plain.parameters() if plain else None
        return None if own is None or others is None else own - others

    def as_json(self) -> dict[str, Any]:
        """Return the content of results.json."""
        return {
            "title": self.suite.title,
            "made": self.made,
            "seeds": list(self.suite.seeds),
            "measures": {m.key: m.label for m in self.suite.measures},
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
            "mean": {m.key: row.mean(m.key) for m in self.suite.measures},
            "std": {m.key: row.std(m.key) for m in self.suite.measures},
            "n": len(row.there),
            "training_seconds": row.mean("training_seconds"),
            "seeds": seeds,
        }


def tidy(rows: Iterable[Row]) -> pd.DataFrame:
    """Collect the figures that count.

    Returns:
        Columns ``run``, ``seed``, ``measure``, ``value``; training time in seconds is a measure, too.
    """
    lines = [
        (row.run.name, seed, key, value)
        for row in rows
        for seed, result in row.seeds.items()
        if result.counts
        for key, value in {**result.values, "training_seconds": result.training_seconds}.items()
        if value is not None
    ]
    return pd.DataFrame(lines, columns=["run", "seed", "measure", "value"]).astype({"value": float})


def mean_curve(curves: Iterable[Mapping[Any, float]]) -> pd.DataFrame:
    """Average curves over seeds.

    Args:
        curves: ``{x: y}`` of each seed.
    Returns:
        Columns ``mean`` and ``std`` (NaN of a single seed), by every x that all curves have, in order.
    """
    series = [pd.Series(curve, dtype=float) for curve in curves]
    table = pd.concat(series or [pd.Series(dtype=float)], axis="columns", join="inner").sort_index()
    return pd.DataFrame({"mean": table.mean(axis="columns"), "std": table.std(axis="columns")})
