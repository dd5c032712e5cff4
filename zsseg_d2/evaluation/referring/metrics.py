"""Referring segmentation as pure functions: a mask of probabilities and its truth -> counts -> scores.

Counts are kept at 99 thresholds at once, so that one pass gives every score at any of them. Letters: N tasks (a phrase
and an image), L thresholds. A pixel belongs to the prediction where its probability is **greater** than the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import simpson

THRESHOLDS = np.arange(1, 100) / 100
"""(L,) 0.01 .. 0.99."""

ACCURACY_AT = (0.5, 0.6, 0.7, 0.8, 0.9)
SWEEP_SPLITS = frozenset(("val", "miniv"))
"""Where a threshold may be chosen."""

_CLIPSEG = slice(1, None, 2)  # of THRESHOLDS: 0.02, 0.04 .. 0.98


@dataclass(frozen=True, eq=False)
class MaskCounts:
    """All that the scores need, of one task: pixels."""

    intersection: np.ndarray  # (L,) int32, of prediction and truth
    predicted: np.ndarray  # (L,) int32
    truth: int
    pixels: int  # of the image


@dataclass(frozen=True, eq=False)
class CountTable:
    """The counts of N tasks."""

    intersection: np.ndarray  # (N, L) int64
    predicted: np.ndarray  # (N, L) int64
    truth: np.ndarray  # (N,) int64
    pixels: np.ndarray  # (N,) int64

    @classmethod
    def stack(cls, counts: Iterable[MaskCounts]) -> CountTable:
        counts = list(counts)
        shape = (len(counts), len(THRESHOLDS))
        return cls(
            np.array([c.intersection for c in counts], np.int64).reshape(shape),
            np.array([c.predicted for c in counts], np.int64).reshape(shape),
            np.array([c.truth for c in counts], np.int64),
            np.array([c.pixels for c in counts], np.int64),
        )

    def __len__(self) -> int:
        return len(self.truth)

    def __getitem__(self, tasks: np.ndarray) -> CountTable:
        """The tasks that a mask (N,) bool, or indices, select."""
        return CountTable(self.intersection[tasks], self.predicted[tasks], self.truth[tasks], self.pixels[tasks])


def count_mask(probability: torch.Tensor, truth: torch.Tensor | np.ndarray) -> MaskCounts:
    """Counts of one task. They are made on the device of `probability`, in one pass over the pixels.

    Args:
        probability: (H, W) in 0 .. 1, or bool; compared in float32.
        truth: (H, W) bool, or integers of which all but 0 are true.
    Raises:
        ValueError: sizes differ, there is no pixel, or a probability is NaN or not in 0 .. 1.
    """
    truth = torch.as_tensor(truth, device=probability.device) != 0
    if probability.ndim != 2 or probability.shape != truth.shape:
        sizes = ("x".join(map(str, reversed(mask.shape))) for mask in (probability, truth))
        raise ValueError("the prediction is {} pixels, but the ground truth is {} (width x height)".format(*sizes))
    if not probability.numel():
        raise ValueError("the image has no pixel")
    values = probability.detach().to(torch.float32).flatten()
    low, high = torch.aminmax(values)
    if not (low >= 0 and high <= 1):  # NaN fails both
        raise ValueError(f"the prediction holds {float(low)} .. {float(high)}, which are no probabilities (0 .. 1)")
    limits = torch.as_tensor(THRESHOLDS, dtype=torch.float32, device=values.device)
    passed = torch.bucketize(values, limits)  # (H*W,) how many thresholds are smaller
    joint = torch.bincount(2 * passed + truth.flatten(), minlength=2 * len(limits) + 2).view(-1, 2)
    above = joint.flip(0).cumsum(0).flip(0)[1:].cpu().numpy()  # (L, 2)
    return MaskCounts(
        above[:, 1].astype(np.int32), above.sum(1).astype(np.int32), int(joint[:, 1].sum()), values.numel()
    )


def threshold_index(threshold: float) -> int:
    """Where a threshold stands in :data:`THRESHOLDS`.

    Raises:
        ValueError: it is none of them.
    """
    index = round(100 * threshold) - 1 if math.isfinite(threshold) else -1
    if not (0 <= index < len(THRESHOLDS) and math.isclose(THRESHOLDS[index], threshold, abs_tol=1e-9)):
        raise ValueError(f"Counts are kept at the thresholds 0.01, 0.02 .. 0.99; {threshold} is none of them.")
    return index


def task_iou(table: CountTable, index: int | slice) -> np.ndarray:
    """(N,) or (N, L') intersection over union, 0 .. 1; 0 where the intersection is empty, **also if both masks are**.

    So the official evaluator has it (``utils/iou.py`` of ChenyunWu/PhraseCutDataset).
    """
    intersection, union = _intersection_union(table, index)
    return intersection / np.maximum(union, 1)


def task_dice(table: CountTable, index: int | slice) -> np.ndarray:
    """(N,) or (N, L') 2 I / (predicted + truth), 0 .. 1; 0 where the intersection is empty, also if both masks are."""
    intersection, union = _intersection_union(table, index)
    return 2 * intersection / np.maximum(union + intersection, 1)


def official_scores(table: CountTable, threshold: float = 0.5) -> dict[str, float]:
    """What the official evaluator of PhraseCut reports, in percent; NaN without tasks (``cum_iou``: without a union).

    ``mean_iou``: mean of :func:`task_iou` over tasks. ``cum_iou``: Σ I / Σ U over all pixels of all tasks. ``acc@x``:
    tasks whose IoU is greater than x. (Wu et al. 2020, "PhraseCut", section 5.)
    """
    index = threshold_index(threshold)
    iou = task_iou(table, index)
    intersection, union = _intersection_union(table, index)
    return {
        "mean_iou": _mean(iou),
        "cum_iou": _ratio(intersection.sum(), union.sum()),
        **{f"acc@{limit}": _mean(iou > limit) for limit in ACCURACY_AT},
    }


def clipseg_scores(table: CountTable, threshold: float = 0.5) -> dict[str, float]:
    """What CLIPSeg reports, in percent (``FixedIntervalMetrics`` in ``metrics.py`` of timojl/clipseg); NaN without tasks.

    Every denominator has one pixel more than the plain ratio, which also makes 0 of 0 / 0.
    ``iou_fg``: TP / (1 + TP + FP + FN), sums over all pixels. ``iou_bin``: the mean of ``iou_fg`` and of the same for the
    background. ``miou``: the mean of TP / (1 + TP + FP + FN) over tasks. ``ap``: see :func:`average_precision`.
    """
    index = threshold_index(threshold)
    if not len(table):
        return dict.fromkeys(("iou_fg", "iou_bin", "miou", "ap"), math.nan)
    intersection, union = _intersection_union(table, index)
    background = (table.pixels - union).sum()
    foreground_iou = intersection.sum() / (1 + union.sum())
    background_iou = background / (1 + background + (union - intersection).sum())
    return {
        "iou_fg": float(100 * foreground_iou),
        "iou_bin": float(50 * (foreground_iou + background_iou)),
        "miou": _mean(intersection / (1 + union)),
        "ap": average_precision(table),
    }


def average_precision(table: CountTable) -> float:
    """CLIPSeg's AP in percent: the area under precision over recall, by Simpson's rule between its outermost points.

    Over the thresholds 0.02, 0.04 .. 0.98 at which anything is predicted, with sums over all pixels of all tasks:
    precision TP / (1 + TP + FP), recall TP / (1 + TP + FN), equal points once. What lies below the smallest recall is not
    counted, so masks of zeros and ones, which have a single point, get 0; so does a model that predicts nothing. NaN
    without tasks. (CLIPSeg sorts points of equal recall arbitrarily; here they are sorted by precision.)
    """
    if not len(table):
        return math.nan
    hits, predicted = table.intersection.sum(0)[_CLIPSEG], table.predicted.sum(0)[_CLIPSEG]
    some = predicted > 0
    recall, precision = hits[some] / (1 + table.truth.sum()), hits[some] / (1 + predicted[some])
    points = np.array(sorted(set(zip(recall, precision))))
    return float(100 * simpson(points[:, 1], x=points[:, 0])) if len(points) > 1 else 0.0


def pixel_scores(table: CountTable, threshold: float = 0.5) -> dict[str, float]:
    """``pixel_accuracy`` (right pixels among all pixels of all tasks) and ``dice`` (mean of :func:`task_dice`), percent."""
    index = threshold_index(threshold)
    intersection, union = _intersection_union(table, index)
    pixels = table.pixels.sum()
    right = pixels - (union - intersection).sum()
    return {"pixel_accuracy": _ratio(right, pixels), "dice": _mean(task_dice(table, index))}


def choose_threshold(table: CountTable, split: str | None, metric: str = "mean_iou") -> tuple[float, list[float]]:
    """The threshold at which a score is highest; of equal ones the nearest to 0.5.

    Args:
        table: counts of a validation split.
        split: its name; "val", "miniv" or "val_miniv".
        metric: mean_iou, cum_iou or dice.
    Returns:
        The threshold, and the score at each of :data:`THRESHOLDS` in percent.
    Raises:
        ValueError: another split (its scores would be those of a threshold that has seen them), an unknown metric, or
            there is no task.
    """
    if not split or not set(split.split("_")) <= SWEEP_SPLITS:
        raise ValueError(f"A threshold may be chosen on val or miniv, never on '{split}'.")
    if not len(table):
        raise ValueError("There is no task to choose a threshold on.")
    if metric == "cum_iou":
        intersection, union = _intersection_union(table, slice(None))
        curve = intersection.sum(0) / np.maximum(union.sum(0), 1)
    elif metric in ("mean_iou", "dice"):
        curve = (task_iou if metric == "mean_iou" else task_dice)(table, slice(None)).mean(0)
    else:
        raise ValueError(f"A threshold is chosen by mean_iou, cum_iou or dice, not by '{metric}'.")
    best = min(range(len(curve)), key=lambda k: (-curve[k], abs(THRESHOLDS[k] - 0.5)))
    return float(THRESHOLDS[best]), (100 * curve).tolist()


def _intersection_union(table: CountTable, index: int | slice) -> tuple[np.ndarray, np.ndarray]:
    intersection = table.intersection[:, index]
    truth = table.truth if isinstance(index, int) else table.truth[:, None]
    return intersection, table.predicted[:, index] + truth - intersection


def _mean(values: np.ndarray) -> float:
    return float(100 * values.mean()) if len(values) else math.nan


def _ratio(part: int, whole: int) -> float:
    return float(100 * part / whole) if whole else math.nan
