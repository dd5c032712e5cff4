"""Whether a method is better than another: a paired test over seeds, and a bootstrap over images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats
from tabulate import tabulate

from ..evaluation.panoptic.bootstrap import ImageCounts, Interval, bootstrap_difference
from ..reading import UnusableFile
from .results import Results, Row, SeedResult
from .runs import Run

LEVEL = 0.05
"""A difference whose p is below, and whose interval lies on its side of 0, is one."""

Pair = tuple[SeedResult, SeedResult]
"""Of a row and of the other one, with the same seed."""


@dataclass(frozen=True)
class Comparison:
    """PQ All of one row minus that of another.

    Attributes:
        difference: Mean over the seeds that both have.
        spread: Standard deviation (n - 1) of the differences of these seeds; NaN of fewer than two.
        seeds: Their number.
        p: Of the two-sided paired t-test over seeds; NaN of fewer than two.
        interval: Of the bootstrap over images, by means over these seeds; None where counts of images are missing.
    """

    difference: float
    spread: float
    seeds: int
    p: float
    interval: Interval | None

    @property
    def verdict(self) -> str:
        """Say whether there is a difference; only both tests together show one, but one of them can rule it out."""
        if self._contradicted or self.p >= LEVEL:
            return "no difference"
        if math.isnan(self.p) or self.interval is None:
            return "not tested"
        return "better" if self.difference > 0 else "worse"

    @property
    def _contradicted(self) -> bool:
        """Return whether the interval holds 0, or lies on its other side."""
        if self.interval is None:
            return False
        _, low, high = self.interval
        return low <= 0 <= high or low > 0 > self.difference or high < 0 < self.difference


def compare(results: Results, row: Row, other: Row) -> Comparison | None:
    """Compare two rows on the test set, or on DATASETS.TEST where the suite has none; None without figures.

    A row that is run once stands beside every seed of the other one.
    """
    key = f"{results.shown}all"
    pairs = _paired(row, other, key)
    if not pairs:
        return None
    differences = np.array([a.values[key] - b.values[key] for a, b in pairs])
    several = len(differences) > 1
    p = float(stats.ttest_1samp(differences, 0.0).pvalue) if several and np.ptp(differences) > 0 else math.nan
    spread = float(differences.std(ddof=1)) if several else math.nan
    interval = _interval(results, (row.run, other.run), pairs)
    return Comparison(float(differences.mean()), spread, len(differences), p, interval)


def _paired(row: Row, other: Row, key: str) -> list[Pair]:
    ours, theirs = ({seed: s for seed, s in r.seeds.items() if s.counts and key in s.values} for r in (row, other))
    seeds = [seed for seed in {**ours, **theirs} if seed != "once" or set(ours) == set(theirs) == {"once"}]
    found = [(ours.get(seed, ours.get("once")), theirs.get(seed, theirs.get("once"))) for seed in seeds]
    return [(a, b) for a, b in found if a is not None and b is not None]


def _interval(results: Results, runs: tuple[Run, Run], pairs: Sequence[Pair]) -> Interval | None:
    counts = [_counts(results, run, found) for run, found in zip(runs, zip(*pairs))]
    if not all(counts):
        return None
    try:
        return bootstrap_difference(*counts)
    except ValueError:
        return None


def _counts(results: Results, run: Run, seeds: Iterable[SeedResult]) -> list[ImageCounts]:
    """Read the counts that a run's figures are made of, once for each folder; none if a file is missing."""
    if run.curve_row is not None:  # points of a curve have no counts
        return []
    name = f"{Path(run.metrics).stem}_images.safetensors"
    wanted, further = results.suite.test, results.suite.further.values()
    found = []
    for folder in dict.fromkeys(s.folder for s in seeds):
        paths = sorted(folder.glob(f"inference/*/{name}")) if folder else []
        paths = [p for p in paths if (p.parent.name == wanted if wanted else p.parent.name not in further)]
        try:
            found.append(ImageCounts.read(paths[0]))
        except (IndexError, OSError, UnusableFile):
            return []
    return found


def comparison_table(results: Results) -> str:
    """Compare the best method with every other row of the table, and rows with those that the suite file names.

    Returns:
        Markdown; empty where nothing can be compared.
    """
    if results.task.name != "panoptic":
        return ""
    best = results.best("all")
    others = [row for row in results.table() if best is not None and row is not best and row.run.competes]
    found = [(row, compare(results, best, row)) for row in others] if best is not None else []
    lines = [[row.run.label, *_cells(c)] for row, c in found if c is not None]
    named = _named(results)
    parts = []
    if lines and best is not None:
        what = f"of **{best.run.label}** minus that of each other row"
        parts += [_explain(results, what), _table(["against"], lines)]
    if named:
        again = "The same for rows that are to be compared with others:"
        parts.append(again if parts else _explain(results, "of a row minus that of another"))
        parts.append(_table(["row", "against"], named))
    return "\n\n".join(parts)


def _explain(results: Results, what: str) -> str:
    where = "the test set" if results.suite.test else "DATASETS.TEST"
    return (
        f"PQ All {what}, on {where}: mean ± standard deviation over "
        "paired seeds, p of the two-sided paired t-test over them, and the interval that holds 95 % of 1000 bootstrap "
        f"draws of the images. A difference is called one if p is below {LEVEL:g} and the interval lies on its side "
        "of 0; if either is not so, the verdict is no difference. Where one of the two is missing and the other does "
        "not rule a difference out, it is not tested. The p are not corrected for the number of rows."
    )


def _named(results: Results) -> list[list[str]]:
    """Return the lines of rows and those that they are compared with by the suite file."""
    rows = {row.run.name: row for row in results.table()}
    pairs = [(row, rows[name]) for row in rows.values() for name in row.run.against if name in rows]
    found = [(row, other, compare(results, row, other)) for row, other in pairs]
    return [[row.run.label, other.run.label, *_cells(c)] for row, other, c in found if c is not None]


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    heads = [*heads, "difference", "seeds", "p", "95 % interval over images", "verdict"]
    align = ("left",) * (len(heads) - 5) + ("right",) * 4 + ("left",)
    return tabulate(lines, heads, tablefmt="pipe", colalign=align, disable_numparse=True)


def _cells(c: Comparison) -> Sequence[str]:
    spread = "" if math.isnan(c.spread) else f" ± {c.spread:.1f}"
    interval = "–" if c.interval is None else f"{c.interval.low:+.1f} to {c.interval.high:+.1f}"
    return f"{c.difference:+.1f}{spread}", str(c.seeds), "–" if math.isnan(c.p) else f"{c.p:.3f}", interval, c.verdict
