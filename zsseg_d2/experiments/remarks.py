"""The sentences below the table: how the best method compares, and which methods reach the target."""

from __future__ import annotations

from .measures import BLIND, DEPTH_PERCENT, MASK_IOU, MEAN_IOU, SUBTRACTION, Target
from .results import Results, Row

IOU_TARGET = 60.0
"""Mean IoU that the project asks of its best decoder on MiniPhrases."""
COMPOSITES_TARGET = (90.0, 8.0)
"""Mask IoU, and depth RMSE in percent of the range, that the project asks of its best net on composites."""


def remarks(results: Results) -> list[str]:
    """Return the sentences for a suite's task; none without a figure of a leak-free method."""
    tasks = {"panoptic": _of_panoptic, "referring": _of_referring, "composites": _of_composites}
    return tasks[results.task.name](results)


def _of_panoptic(results: Results) -> list[str]:
    """Compare the best leak-free method with the corners, and name the methods that reach the target.

    The best one is chosen on DATASETS.TEST; where the suite has a test set, the figures are those of the test set.
    """
    best, upper = results.best("all"), results.row(role="upper_bound")
    zero, lower = results.row(role="zero_shot"), results.row(role="lower_bound")
    shown = results.shown
    if best is None or not best.has(*(f"{shown}{key}" for key in ("all", "in", "out"))):
        return [_zero_shot_alone(zero)] if zero is not None and zero.has("all") and results.table() else []
    where = " on validation" if shown else ""
    text = f"The best leak-free method by PQ All{where} is **{best.run.label}** with {best.mean('all'):.1f}"
    if shown:
        text += f"; on the test set it has {best.mean(f'{shown}all'):.1f}"
    if upper is not None and upper.has(f"{shown}all") and upper.mean(f"{shown}all"):
        bound = upper.mean(f"{shown}all")
        text += f", {100 * best.mean(f'{shown}all') / bound:.1f} % of the upper bound's {bound:.1f}"
    for other, key, against in ((lower, "in", "the lower bound's"), (zero, "out", "zero shot's")):
        if other is not None and other.has(f"{shown}{key}"):
            own, theirs = best.mean(f"{shown}{key}"), other.mean(f"{shown}{key}")
            text += f"; its {key.capitalize()} {own:.1f} is {own - theirs:+.1f} against {against} {theirs:.1f}"
    kept = _forgotten(best, zero)
    if kept:
        text += f"; {kept}"
    corners = [row for row in (upper, lower, zero) if row is not None and row.has(f"{shown}all", f"{shown}in")]
    if len(corners) < 3:
        return [f"{text}.{_beside_zero_shot(best, zero)}"]
    reached = [row.run.label for row in results.competitors("all") if reaches_target(results, row, *corners)]
    target = f"{_in_words(results.suite.target)} Reached by {'; '.join(reached) or 'none of the leak-free methods'}."
    return [f"{text}.{_beside_zero_shot(best, zero)}", target]


def _in_words(target: Target) -> str:
    gain = f"at least {target.out_gain:g} above" if target.out_gain else "above"
    text = (
        f"Target: PQ All at least {100 * target.all_share:.0f} % of the upper bound's, In at most {target.in_lost:g} "
        f"below the lower bound's, Out {gain} zero shot's"
    )
    if target.pretraining_lost is not None:
        text += f", at most {target.pretraining_lost:g} PQ lost on the pre-training world"
    return f"{text}."


def _forgotten(row: Row, zero: Row | None) -> str:
    """Return what a method lost on the world of the pre-training; empty where it was not evaluated there."""
    if zero is None or not (row.has("pretraining_all") and zero.has("pretraining_all")):
        return ""
    change = row.mean("pretraining_all") - zero.mean("pretraining_all")
    return f"on the world of the pre-training its PQ is {change:+.1f} against zero shot's"


def _beside_zero_shot(best: Row, zero: Row | None) -> str:
    """Return the sentence on zero shot, which is a corner of the comparison and so never the best method."""
    if zero is None or not zero.has("all"):
        return ""
    than = "more" if zero.mean("all") > best.mean("all") else "not more"
    return f" Zero shot, which trains nothing and is not among the methods, has {zero.mean('all'):.1f}: {than}."


def _zero_shot_alone(zero: Row) -> str:
    return f"No leak-free method that trains has a result yet; zero shot has PQ All {zero.mean('all'):.1f}."


def reaches_target(results: Results, row: Row, upper: Row, lower: Row, zero: Row) -> bool:
    """Return whether a method reaches the target, by means over seeds, on the test set where the suite has one."""
    target, shown = results.suite.target, results.shown
    gain = row.mean(f"{shown}out") - zero.mean(f"{shown}out")
    lost = zero.mean("pretraining_all") - row.mean("pretraining_all")
    return (
        row.mean(f"{shown}all") >= target.all_share * upper.mean(f"{shown}all")
        and row.mean(f"{shown}in") >= lower.mean(f"{shown}in") - target.in_lost
        and (gain >= target.out_gain if target.out_gain else gain > 0)
        and (target.pretraining_lost is None or lost <= target.pretraining_lost)
    )


def _of_referring(results: Results) -> list[str]:
    """Name the best decoder, what it scores without the phrase, and whether it reaches the target."""
    row = results.best(MEAN_IOU.key)
    if row is None:
        return []
    value = row.mean(MEAN_IOU.key)
    text = f"The best mean IoU is **{row.run.label}**'s with {value:.1f}"
    if row.has(BLIND.key):
        text += f"; its masks of another phrase about the same image reach {row.mean(BLIND.key):.1f} (shuffled phrase)"
    reached = "Reached" if value >= IOU_TARGET else "Not reached"
    return [f"{text}.", f"Target: mean IoU at least {IOU_TARGET:g}. {reached}."]


def _of_composites(results: Results) -> list[str]:
    """Name the best net, what subtraction reaches on the same images, and which nets reach the target.

    The best one is chosen on DATASETS.TEST; where the suite has a test set, the figures are those of the test set.
    """
    best, shown = results.best(MASK_IOU.key), results.shown
    iou, depth, baseline = (f"{shown}{measure.key}" for measure in (MASK_IOU, DEPTH_PERCENT, SUBTRACTION))
    if best is None or not best.has(iou):
        return []
    where = " on validation" if shown else ""
    text = f"The best mask IoU{where} is **{best.run.label}**'s with {best.mean(MASK_IOU.key):.1f}"
    if shown:
        text += f"; on the test set it has {best.mean(iou):.1f}"
    if best.has(baseline):
        text += f", subtraction of the background {best.mean(baseline):.1f}"
    if best.has(depth):
        text += f"; its depth RMSE is {best.mean(depth):.1f} % of the range"
    least, most = COMPOSITES_TARGET
    rows = [row for row in results.competitors(MASK_IOU.key) if row.has(iou, depth)]
    reached = [row.run.label for row in rows if row.mean(iou) >= least and row.mean(depth) <= most]
    target = f"Target: mask IoU at least {least:g} and depth RMSE at most {most:g} % of the range."
    return [f"{text}.", f"{target} Reached by {'; '.join(reached) or 'none of the nets'}."]
