"""The sentences below the table: how the best method compares, and which methods reach the target."""

from __future__ import annotations

from .measures import BLIND, MEAN_IOU
from .results import Results, Row

TARGET = 0.9
"""Of the upper bound's PQ All: what the project asks of its best leak-free method."""
IN_LOST = 1.0
"""PQ In that it may lose against the lower bound."""
IOU_TARGET = 60.0
"""Mean IoU that the project asks of its best decoder on MiniPhrases."""


def remarks(results: Results) -> list[str]:
    """Return the sentences for a suite's task; none without a figure of a leak-free method."""
    return {"panoptic": _of_panoptic, "referring": _of_referring}[results.task.name](results)


def _of_panoptic(results: Results) -> list[str]:
    """Compare the best leak-free method with the corners, and name the methods that reach the target."""
    best, upper = results.best("all"), results.row(role="upper_bound")
    zero, lower = results.row(role="zero_shot"), results.row(role="lower_bound")
    if best is None or not best.has("all", "in", "out"):
        return [_zero_shot_alone(zero)] if zero is not None and zero.has("all") and results.table() else []
    text = f"The best leak-free method by PQ All is **{best.run.label}** with {best.mean('all'):.1f}"
    if upper is not None and upper.has("all") and upper.mean("all"):
        text += f", {100 * best.mean('all') / upper.mean('all'):.1f} % of the upper bound's {upper.mean('all'):.1f}"
    for other, key, against in ((lower, "in", "the lower bound's"), (zero, "out", "zero shot's")):
        if other is not None and other.has(key):
            gap = best.mean(key) - other.mean(key)
            text += f"; its {key.capitalize()} {best.mean(key):.1f} is {gap:+.1f} against {against} "
            text += f"{other.mean(key):.1f}"
    corners = [row for row in (upper, lower, zero) if row is not None and row.has("all", "in", "out")]
    if len(corners) < 3:
        return [f"{text}.{_beside_zero_shot(best, zero)}"]
    reached = [row.run.label for row in results.competitors("all") if reaches_target(row, *corners)]
    target = (
        f"Target: PQ All at least {100 * TARGET:.0f} % of the upper bound's, In at most {IN_LOST:g} below the lower "
        f"bound's, Out above zero shot's. Reached by {'; '.join(reached) or 'none of the leak-free methods'}."
    )
    return [f"{text}.{_beside_zero_shot(best, zero)}", target]


def _beside_zero_shot(best: Row, zero: Row | None) -> str:
    """Return the sentence on zero shot, which is a corner of the comparison and so never the best method."""
    if zero is None or not zero.has("all"):
        return ""
    than = "more" if zero.mean("all") > best.mean("all") else "not more"
    return f" Zero shot, which trains nothing and is not among the methods, has {zero.mean('all'):.1f}: {than}."


def _zero_shot_alone(zero: Row) -> str:
    return f"No leak-free method that trains has a result yet; zero shot has PQ All {zero.mean('all'):.1f}."


def reaches_target(row: Row, upper: Row, lower: Row, zero: Row) -> bool:
    """Return whether a method reaches the target, by means over seeds."""
    return (
        row.mean("all") >= TARGET * upper.mean("all")
        and row.mean("in") >= lower.mean("in") - IN_LOST
        and row.mean("out") > zero.mean("out")
    )


def _of_referring(results: Results) -> list[str]:
    """Name the best decoder, what it scores without the phrase, and whether it reaches the target."""
    row = results.best(MEAN_IOU.key)
    if row is None:
        return []
    value = row.mean(MEAN_IOU.key)
    text = f"The best mean IoU is **{row.run.label}**'s with {value:.1f}"
    if row.has(BLIND.key):
        text += f"; its masks of another phrase about the same image reach {row.mean(BLIND.key):.1f} (phrase-blind)"
    reached = "Reached" if value >= IOU_TARGET else "Not reached"
    return [f"{text}.", f"Target: mean IoU at least {IOU_TARGET:g}. {reached}."]
