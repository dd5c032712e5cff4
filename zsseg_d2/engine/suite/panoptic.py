"""Suites about panoptic quality: PQ of all classes, of those with labels (In) and of those without (Out)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...evaluation.panoptic.panoptic_counts import harmonic_mean
from .facts import (EXTRA_PARAMETERS, LEAK_FREE, TIME)
from .measures import (Measure, Task)

if TYPE_CHECKING:
    from .results import (Results, Row)


def _harmonic(figures: Mapping[str, float]) -> float:
    return harmonic_mean(figures["in"], figures["out"])


ALL = Measure("all", "PQ All", ("All", "PQ"), scalar="panoptic_seg/PQ", point="pq_all")
IN = Measure("in", "In", ("In", "PQ"), scalar="panoptic_seg/PQ_in", point="pq_in")
OUT = Measure("out", "Out", ("Out", "PQ"), scalar="panoptic_seg/PQ_out", point="pq_out")
HARMONIC = Measure("harmonic", "harmonic mean", point="harmonic_mean", derive=_harmonic)

TARGET = 0.9
"""Of the upper bound's PQ All: what the project asks of its best leak-free method."""
IN_LOST = 1.0
"""PQ In that it may lose against the lower bound."""


def details(content: Mapping) -> dict:
    """Of a panoptic_quality.json: PQ and group of each class, and how many classes In and Out average."""
    return {
        "per_class": {
            name: {"PQ": scores.get("PQ"), "group": scores.get("group")}
            for name, scores in content.get("per_class", {}).items()
        },
        "sizes": {key: content.get(group, {}).get("n") for key, group in (("in", "In"), ("out", "Out"))},
    }


def best_leak_free(results: Results) -> Row | None:
    """The competitor with the highest PQ All."""
    return max(_competitors(results), key=lambda row: row.mean("all"), default=None)


def remarks(results: Results) -> list[str]:
    """The best leak-free method against the corners, and which methods reach the target."""
    best, upper = best_leak_free(results), results.row(role="upper_bound")
    zero, lower = results.row(role="zero_shot"), results.row(role="lower_bound")
    if best is None or not _complete(best):
        return []
    said = f"The best leak-free method by PQ All is **{best.spec.label}** with {best.mean('all'):.1f}"
    if upper is not None and upper.mean("all"):
        said += f", {100 * best.mean('all') / upper.mean('all'):.1f} % of the upper bound's {upper.mean('all'):.1f}"
    for other, key, against in ((lower, "in", "the lower bound's"), (zero, "out", "zero shot's")):
        if other is not None and other.mean(key) is not None:
            gap = best.mean(key) - other.mean(key)
            said += f"; its {key.capitalize()} {best.mean(key):.1f} is {gap:+.1f} against {against} {other.mean(key):.1f}"
    if not all(row is not None and _complete(row) for row in (upper, zero, lower)):
        return [f"{said}."]
    reached = [row for row in _competitors(results) if reaches_target(row, upper=upper, lower=lower, zero=zero)]
    names = "; ".join(row.spec.label for row in reached) or "none of the leak-free methods"
    target = (
        f"Target: PQ All at least {100 * TARGET:.0f} % of the upper bound's, In at most {IN_LOST:g} below the lower "
        f"bound's, Out above zero shot's. Reached by {names}."
    )
    return [f"{said}.", target]


def reaches_target(row: Row, *, upper: Row, lower: Row, zero: Row) -> bool:
    """By means over seeds."""
    return (
        _complete(row)
        and row.mean("all") >= TARGET * upper.mean("all")
        and row.mean("in") >= lower.mean("in") - IN_LOST
        and row.mean("out") > zero.mean("out")
    )


def _complete(row: Row) -> bool:
    return all(row.mean(key) is not None for key in ("all", "in", "out"))


def _competitors(results: Results) -> list[Row]:
    return [row for row in results.competitors() if row.mean("all") is not None]


def plots(results: Results, folder: Path) -> list[Path]:
    """All plots that the results are enough for."""
    from . import plots as general  # matplotlib takes a second to import: only where something is drawn
    from .panoptic_plots import (in_out_scatter, over_alpha)

    if results.suite.compare:
        compared = [row for name in results.suite.compare for row in results.table() if row.spec.name == name]
    else:
        corners = [results.row(role=role) for role in ("zero_shot", "lower_bound", "upper_bound")]
        compared = [row for row in (*corners, best_leak_free(results)) if row is not None]
    curves = [row for row in results.rows if row.spec.curve and not row.spec.of]
    made = [
        general.over_iterations(results, (ALL, IN, OUT), "PQ", folder / "iterations.png"),
        general.per_class(compared, "PQ", folder / "classes.png"),
        in_out_scatter(results, folder / "in_out.png"),
        *(over_alpha(row, (ALL, IN, OUT, HARMONIC), folder / f"{row.spec.name}.png") for row in curves),
    ]
    return [path for path in made if path is not None]


PANOPTIC = Task(
    metrics_file="panoptic_quality.json",
    measures=(ALL, IN, OUT, HARMONIC),
    facts=(TIME, EXTRA_PARAMETERS, LEAK_FREE),
    details=details,
    remarks=remarks,
    plots=plots,
)
