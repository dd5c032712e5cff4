"""Results of a suite: one tidy table of figures, and what else each run and seed left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from .measures import Task
from .provenance import Provenance
from .runs import Run, Suite


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
