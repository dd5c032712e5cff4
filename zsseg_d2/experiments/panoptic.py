"""What is said and drawn of panoptic suites: PQ of all classes, of those with labels (In) and of those without (Out)."""

from __future__ import annotations

from pathlib import Path

from .measures import ALL, HARMONIC, IN, OUT
from .results import Results, Row

TARGET = 0.9
"""Of the upper bound's PQ All: what the project asks of its best leak-free method."""
IN_LOST = 1.0
"""PQ In that it may lose against the lower bound."""


def remarks(results: Results) -> list[str]:
    """Compare the best leak-free method with the corners, and name the methods that reach the target."""
    best, upper = results.best("all"), results.row(role="upper_bound")
    zero, lower = results.row(role="zero_shot"), results.row(role="lower_bound")
    if best is None or not _complete(best):
        return []
    said = f"The best leak-free method by PQ All is **{best.run.label}** with {best.mean('all'):.1f}"
    if upper is not None and upper.mean("all"):
        said += f", {100 * best.mean('all') / upper.mean('all'):.1f} % of the upper bound's {upper.mean('all'):.1f}"
    for other, key, against in ((lower, "in", "the lower bound's"), (zero, "out", "zero shot's")):
        if other is not None and other.mean(key) is not None:
            gap = best.mean(key) - other.mean(key)
            said += (
                f"; its {key.capitalize()} {best.mean(key):.1f} is {gap:+.1f} against {against} {other.mean(key):.1f}"
            )
    if not all(row is not None and _complete(row) for row in (upper, zero, lower)):
        return [f"{said}."]
    reached = [row for row in results.competitors("all") if reaches_target(row, upper=upper, lower=lower, zero=zero)]
    names = "; ".join(row.run.label for row in reached) or "none of the leak-free methods"
    target = (
        f"Target: PQ All at least {100 * TARGET:.0f} % of the upper bound's, In at most {IN_LOST:g} below the lower "
        f"bound's, Out above zero shot's. Reached by {names}."
    )
    return [f"{said}.", target]


def reaches_target(row: Row, *, upper: Row, lower: Row, zero: Row) -> bool:
    """Whether a method reaches the target, by means over seeds."""
    return (
        _complete(row)
        and row.mean("all") >= TARGET * upper.mean("all")
        and row.mean("in") >= lower.mean("in") - IN_LOST
        and row.mean("out") > zero.mean("out")
    )


def _complete(row: Row) -> bool:
    return all(row.mean(key) is not None for key in ("all", "in", "out"))


def plots(results: Results, folder: Path) -> list[Path]:
    """Draw all plots that the results are enough for."""
    # Matplotlib takes a second to import: only where something is drawn.
    from .panoptic_plots import in_out_scatter, over_alpha
    from .plots import over_iterations, per_class

    if results.suite.compare:
        compared = [row for name in results.suite.compare for row in results.table() if row.run.name == name]
    else:
        corners = [results.row(role=role) for role in ("zero_shot", "lower_bound", "upper_bound")]
        compared = [row for row in (*corners, results.best("all")) if row is not None]
    curves = [row for row in results.rows if row.run.curve and not row.run.of]
    made = [
        over_iterations(results, (ALL, IN, OUT), "PQ", folder / "iterations.png"),
        per_class(compared, "PQ", folder / "classes.png"),
        in_out_scatter(results, folder / "in_out.png"),
        *(over_alpha(row, (ALL, IN, OUT, HARMONIC), folder / f"{row.run.name}.png") for row in curves),
    ]
    return [path for path in made if path is not None]
