"""Referring segmentation as pure functions: a probability mask and its ground truth to counts to scores.

Counts are kept at 99 thresholds at once, so that one pass gives every score at any of them. Letters: N tasks (a phrase
and an image), L thresholds. A pixel is predicted if its probability is **greater** than the threshold.

>>> truth = np.array([[True, True, False, False]])
>>> found = count_mask(torch.tensor([[0.9, 0.4, 0.6, 0.1]]), truth)
>>> perfect = count_mask(torch.as_tensor(truth), truth)
>>> table = CountTable.stack([found, perfect])
>>> task_iou(table, threshold_index(0.5)).round(4)
array([0.3333, 1.    ])
>>> scores = official_scores(table)
>>> [(name, round(scores[name], 2)) for name in ("mean_iou", "cum_iou", "acc@0.5")]
[('mean_iou', 66.67), ('cum_iou', 60.0), ('acc@0.5', 50.0)]
>>> pixel_scores(table)
{'pixel_accuracy': 75.0, 'dice': 75.0}
>>> choose_threshold(table, "val")[0]  # the largest threshold that keeps both pixels of the first object
0.39
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import simpson

THRESHOLDS = np.arange(1, 100) / 100
"""(L,) from 0.01 to 0.99."""

ACCURACY_AT = (0.5, 0.6, 0.7, 0.8, 0.9)
SWEEP_SPLITS = frozenset(("val", "miniv"))
"""Splits on which a threshold may be chosen."""

_CLIPSEG = slice(1, None, 2)  # of THRESHOLDS: 0.02, 0.04 .. 0.98


@dataclass(frozen=True, eq=False)
class MaskCounts:
    """Hold the pixel counts of one task."""

    intersection: np.ndarray  # (L,) int32, pixels in prediction and truth
    predicted: np.ndarray  # (L,) int32
    truth: int
    pixels: int  # of the image


@dataclass(frozen=True, eq=False)
class CountTable:
    """Hold the pixel counts of N tasks."""

    intersection: np.ndarray  # (N, L) int64
    predicted: np.ndarray  # (N, L) int64
    truth: np.ndarray  # (N,) int64
    pixels: np.ndarray  # (N,) int64

    @classmethod
    def stack(cls, counts: Iterable[MaskCounts]) -> CountTable:
        """Collect the counts of several tasks."""
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
        """Select tasks by an (N,) bool mask or by indices."""
        return CountTable(self.intersection[tasks], self.predicted[tasks], self.truth[tasks], self.pixels[tasks])


def count_mask(probability: torch.Tensor, truth: torch.Tensor | np.ndarray) -> MaskCounts:
    """Count the pixels of one task at all thresholds, in one pass on the device of `probability`.

    Args:
        probability: (H, W) in [0, 1], or bool; compared in float32.
        truth: (H, W) bool, or integers, where all but 0 are true.

    Raises:
        ValueError: the sizes differ, there is no pixel, or a probability is NaN or not in [0, 1].

    >>> counts = count_mask(torch.tensor([[0.9, 0.4], [0.6, 0.1]]), np.array([[1, 1], [0, 0]]))
    >>> index = threshold_index(0.5)
    >>> int(counts.intersection[index]), int(counts.predicted[index]), counts.truth, counts.pixels
    (1, 2, 2, 4)
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
        raise ValueError(
            f"the prediction has values from {float(low)} to {float(high)}, but probabilities are in [0, 1]"
        )
    limits = torch.as_tensor(THRESHOLDS, dtype=torch.float32, device=values.device)
    passed = torch.bucketize(values, limits)  # (H*W,) number of smaller thresholds
    joint = torch.bincount(2 * passed + truth.flatten(), minlength=2 * len(limits) + 2).view(-1, 2)
    above = joint.flip(0).cumsum(0).flip(0)[1:].cpu().numpy()  # (L, 2)
    return MaskCounts(
        above[:, 1].astype(np.int32), above.sum(1).astype(np.int32), int(joint[:, 1].sum()), values.numel()
    )


def threshold_index(threshold: float) -> int:
    """Return the index of a threshold in :data:`THRESHOLDS`.

    Raises:
        ValueError: the threshold is not one of them.

    >>> threshold_index(0.5)
    49
    """
    index = round(100 * threshold) - 1 if math.isfinite(threshold) else -1
    if not (0 <= index < len(THRESHOLDS) and math.isclose(THRESHOLDS[index], threshold, abs_tol=1e-9)):
        raise ValueError(f"Counts are kept at the thresholds 0.01, 0.02, …, 0.99; {threshold} is not one of them.")
    return index


def task_iou(table: CountTable, index: int | slice) -> np.ndarray:
    """Return the intersection over union of each task, (N,) or (N, L') in [0, 1].

    It is 0 if the intersection is empty, **even if both masks are**, as in the official evaluator (``utils/iou.py`` of
    ChenyunWu/PhraseCutDataset).
    """
    intersection, union = _intersection_union(table, index)
    return intersection / np.maximum(union, 1)


def task_dice(table: CountTable, index: int | slice) -> np.ndarray:
    """Return 2 I / (predicted + truth) of each task, (N,) or (N, L') in [0, 1]; 0 if the intersection is empty."""
    intersection, union = _intersection_union(table, index)
    return 2 * intersection / np.maximum(union + intersection, 1)


def official_scores(table: CountTable, threshold: float = 0.5) -> dict[str, float]:
    """Compute the scores of PhraseCut's official evaluator (Wu et al. 2020, "PhraseCut", section 5).

    Returns:
        In percent, NaN without tasks (``cum_iou``: without a union):

        * ``mean_iou``: mean of :func:`task_iou` over tasks.
        * ``cum_iou``: Σ I / Σ U over all pixels of all tasks.
        * ``acc@x``: share of the tasks whose IoU is greater than x.

    >>> truth = np.array([[1, 1, 0, 0]])
    >>> table = CountTable.stack([count_mask(torch.tensor([[0.9, 0.4, 0.6, 0.1]]), truth)])
    >>> round(official_scores(table)["mean_iou"], 2), round(official_scores(table, threshold=0.3)["mean_iou"], 2)
    (33.33, 66.67)
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
    """Compute CLIPSeg's scores (``FixedIntervalMetrics`` in ``metrics.py`` of timojl/clipseg).

    Every denominator has one pixel more than the plain ratio, which also turns 0 / 0 into 0.

    Returns:
        In percent, NaN without tasks:

        * ``iou_fg``: TP / (1 + TP + FP + FN), with sums over all pixels.
        * ``iou_bin``: the mean of ``iou_fg`` and its counterpart for the background.
        * ``miou``: the mean of TP / (1 + TP + FP + FN) over tasks.
        * ``ap``: see :func:`average_precision`.
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
    """Compute CLIPSeg's AP in percent: the area under precision over recall, by Simpson's rule.

    The points are the thresholds 0.02, 0.04, …, 0.98 at which anything is predicted, with sums over all pixels of all
    tasks: precision TP / (1 + TP + FP), recall TP / (1 + TP + FN). Equal points count once. The area below the smallest
    recall is not included, so binary masks, which have a single point, get 0, and so does a model that predicts
    nothing. Without tasks the AP is NaN. (CLIPSeg sorts points of equal recall arbitrarily; here they are sorted by
    precision.)
    """
    if not len(table):
        return math.nan
    hits, predicted = table.intersection.sum(0)[_CLIPSEG], table.predicted.sum(0)[_CLIPSEG]
    some = predicted > 0
    recall, precision = hits[some] / (1 + table.truth.sum()), hits[some] / (1 + predicted[some])
    points = np.array(sorted(set(zip(recall, precision))))
    return float(100 * simpson(points[:, 1], x=points[:, 0])) if len(points) > 1 else 0.0


def pixel_scores(table: CountTable, threshold: float = 0.5) -> dict[str, float]:
    """Compute ``pixel_accuracy`` over all pixels and ``dice``, the mean of :func:`task_dice`, in percent."""
    index = threshold_index(threshold)
    intersection, union = _intersection_union(table, index)
    pixels = table.pixels.sum()
    right = pixels - (union - intersection).sum()
    return {"pixel_accuracy": _ratio(right, pixels), "dice": _mean(task_dice(table, index))}


def choose_threshold(table: CountTable, split: str | None, metric: str = "mean_iou") -> tuple[float, list[float]]:
    """Choose the threshold with the highest score on a validation split; ties go to the one nearest to 0.5.

    Args:
        table: counts of a validation split.
        split: its name: "val", "miniv" or "val_miniv".
        metric: "mean_iou", "cum_iou" or "dice".

    Returns:
        The threshold, and the score at each of :data:`THRESHOLDS` in percent.

    Raises:
        ValueError: the split is not a validation split (a threshold chosen on test would be tuned on test), the metric
            is unknown, or there is no task.
    """
    if not split or not set(split.split("_")) <= SWEEP_SPLITS:
        raise ValueError(f"split='{split}': a threshold may be chosen on val or miniv only.")
    if not len(table):
        raise ValueError("A threshold needs at least one task to be chosen on.")
    if metric == "cum_iou":
        intersection, union = _intersection_union(table, slice(None))
        curve = intersection.sum(0) / np.maximum(union.sum(0), 1)
    elif metric in ("mean_iou", "dice"):
        curve = (task_iou if metric == "mean_iou" else task_dice)(table, slice(None)).mean(0)
    else:
        raise ValueError(f"metric='{metric}': unknown. Fix: choose mean_iou, cum_iou or dice.")
    best = min(range(len(curve)), key=lambda k: (-curve[k], abs(THRESHOLDS[k] - 0.5)))
    return float(THRESHOLDS[best]), (100 * curve).tolist()


def _intersection_union(table: CountTable, index: int | slice) -> tuple[np.ndarray, np.ndarray]:
    """Return intersections and unions in pixels, each (N,) or (N, L')."""
    intersection = table.intersection[:, index]
    truth = table.truth if isinstance(index, int) else table.truth[:, None]
    return intersection, table.predicted[:, index] + truth - intersection


def _mean(values: np.ndarray) -> float:
    return float(100 * values.mean()) if len(values) else math.nan


def _ratio(part: int, whole: int) -> float:
    return float(100 * part / whole) if whole else math.nan
