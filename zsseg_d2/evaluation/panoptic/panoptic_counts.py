"""Panoptic quality as pure functions: segment maps to counts to PQ, SQ and RQ.

Source: Kirillov et al. 2019, "Panoptic Segmentation", section 4. Letters: K classes, S segments, R runs of pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...data.panoptic.png import MAX_SEGMENT_ID, run_lengths


@dataclass
class PanopticCounts:
    """Hold what panoptic quality needs for each of K classes.

    >>> counts = PanopticCounts.zeros(2)
    >>> counts += PanopticCounts(np.array([0.8, 0.0]), np.array([1, 0]), np.array([0, 1]), np.array([0, 0]))
    >>> counts.tp
    array([1, 0])
    """

    iou: np.ndarray  # (K,) float64, sum of IoU over matched pairs
    tp: np.ndarray  # (K,) int64, matched pairs
    fp: np.ndarray  # (K,) int64, predicted segments without a match
    fn: np.ndarray  # (K,) int64, annotated segments without a match

    @classmethod
    def zeros(cls, num_classes: int) -> PanopticCounts:
        """Return counts of nothing for K = `num_classes` classes."""
        return cls(np.zeros(num_classes), *(np.zeros(num_classes, np.int64) for _ in range(3)))

    def __iadd__(self, other: PanopticCounts) -> PanopticCounts:
        self.iou += other.iou
        self.tp += other.tp
        self.fp += other.fp
        self.fn += other.fn
        return self


def count_image(
    gt_ids: np.ndarray,
    gt_segments: Sequence[Mapping],
    pred_ids: np.ndarray,
    pred_segments: Sequence[Mapping],
    num_classes: int,
) -> PanopticCounts:
    """Match the segments of one image by the rules of ``cityscapesscripts`` and ``panopticapi``.

    Two segments of one class match at IoU > 0.5, where the union excludes pixels of the prediction that are void in the
    ground truth. An unmatched prediction is not a false positive if more than half of it lies in void and in a crowd
    region of its class. Listed segments without a pixel are ignored.

    Args:
        gt_ids: (H, W) integers; pixels whose id is not in `gt_segments` are void.
        gt_segments: each with id, category_id in [0, K) and iscrowd.
        pred_ids: (H, W) integers, 0 = void.
        pred_segments: each with id and category_id.
        num_classes: K.

    Raises:
        ValueError: the maps differ in size, an id of `pred_ids` is not in `pred_segments`, an id is listed twice, or a
            category is not in [0, K).

    >>> gt = np.array([[1, 1, 1, 1], [2, 2, 2, 2]])
    >>> prediction = np.array([[5, 5, 5, 0], [6, 6, 7, 7]])  # class 0: IoU 3 / 4; class 1: two halves, IoU 1 / 2 each
    >>> counts = count_image(
    ...     gt,
    ...     [{"id": 1, "category_id": 0, "iscrowd": 0}, {"id": 2, "category_id": 1, "iscrowd": 0}],
    ...     prediction,
    ...     [{"id": 5, "category_id": 0}, {"id": 6, "category_id": 1}, {"id": 7, "category_id": 1}],
    ...     num_classes=2,
    ... )
    >>> counts.iou, counts.tp, counts.fp, counts.fn
    (array([0.75, 0.  ]), array([1, 0]), array([0, 2]), array([0, 1]))
    >>> class_quality(counts)["PQ"]
    array([75.,  0.])
    """
    if gt_ids.shape != pred_ids.shape:
        raise ValueError(
            f"the prediction is {pred_ids.shape[1]}x{pred_ids.shape[0]} pixels, but the ground truth is "
            f"{gt_ids.shape[1]}x{gt_ids.shape[0]} (width x height)"
        )
    gt, gt_class = _listed(gt_segments, num_classes, "ground-truth")
    pred, pred_class = _listed(pred_segments, num_classes, "predicted")
    crowd = np.array([bool(s["iscrowd"]) for s in gt_segments], dtype=bool)

    overlap = overlap_areas(gt_ids, gt, pred_ids, pred)
    gt_area, pred_area = overlap.sum(1)[1:], overlap.sum(0)[1:]
    in_void, overlap = overlap[0, 1:], overlap[1:, 1:]

    union = pred_area[None] + gt_area[:, None] - overlap - in_void[None]
    comparable = (gt_class[:, None] == pred_class[None]) & ~crowd[:, None] & (overlap > 0)
    iou = np.divide(overlap, union, out=np.zeros_like(overlap), where=comparable)
    matched = iou > 0.5

    ignored = in_void.copy()
    # The formats allow one crowd region per class and image; if there are more, both references use the last.
    region = {int(k): i for i, k in enumerate(gt_class) if crowd[i] and gt_area[i] > 0}
    for j, k in enumerate(pred_class):
        if int(k) in region:
            ignored[j] += overlap[region[int(k)], j]
    false_positive = ~matched.any(0) & (pred_area > 0) & (2 * ignored <= pred_area)
    false_negative = ~matched.any(1) & ~crowd & (gt_area > 0)

    gt_index, pred_index = np.nonzero(matched)
    return PanopticCounts(
        iou=np.bincount(gt_class[gt_index], weights=iou[gt_index, pred_index], minlength=num_classes),
        tp=np.bincount(gt_class[gt_index], minlength=num_classes),
        fp=np.bincount(pred_class[false_positive], minlength=num_classes),
        fn=np.bincount(gt_class[false_negative], minlength=num_classes),
    )


def overlap_areas(gt_ids: np.ndarray, gt: np.ndarray, pred_ids: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """Count the pixels that each annotated and each predicted segment share.

    Args:
        gt_ids: (H, W) integers.
        gt: (G,) ids of the annotated segments; other pixels are void.
        pred_ids: (H, W) integers, 0 = void.
        pred: (P,) ids of the predicted segments.

    Returns:
        (G + 1, P + 1) float64: pixels in annotated segment i - 1 and predicted segment j - 1; 0 is void.

    Raises:
        ValueError: an id of `pred_ids` is not in `pred`.
    """
    gt_runs, pred_runs, lengths = run_lengths(gt_ids, pred_ids)
    rows, columns = _number(gt_runs, gt), _number(pred_runs, pred)
    unlisted = (columns == 0) & (pred_runs != 0)
    if unlisted.any():
        raise ValueError(f"segment id {int(pred_runs[unlisted][0])} is in the predicted map but not in segments_info")
    shape = (len(gt) + 1, len(pred) + 1)
    # With weights, bincount works in float64, which is exact far beyond any number of pixels.
    return np.bincount(rows * shape[1] + columns, weights=lengths, minlength=shape[0] * shape[1]).reshape(shape)


def _listed(segments: Sequence[Mapping], num_classes: int, whose: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (S,) ids and (S,) classes of the listed segments, or raise ValueError."""
    ids = np.array([s["id"] for s in segments], dtype=np.int64)
    classes = np.array([s["category_id"] for s in segments], dtype=np.int64)
    if len(np.unique(ids)) != len(ids):
        raise ValueError(f"a {whose} segment id is listed twice in segments_info")
    if len(ids) and ids.min() == 0:
        raise ValueError(f"a {whose} segment has the id 0, which means void")
    if len(classes) and not (classes.min() >= 0 and classes.max() < num_classes):
        wrong = classes[(classes < 0) | (classes >= num_classes)][0]
        raise ValueError(f"a {whose} segment has the category {wrong}, which is not in [0, {num_classes})")
    return ids, classes


def _number(values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Map (R,) values to (R,) int64: i + 1 where the value is ``ids[i]``, 0 where it is not in `ids`."""
    if not len(ids):
        return np.zeros(len(values), np.int64)
    if ids.min() > 0 and ids.max() <= MAX_SEGMENT_ID:
        table = np.zeros(ids.max() + 2, np.int64)  # untouched pages of a large table cost nothing
        table[ids] = np.arange(1, len(ids) + 1)
        return table[np.clip(values, 0, len(table) - 1)]
    order = np.argsort(ids)
    place = np.minimum(np.searchsorted(ids[order], values), len(ids) - 1)
    return np.where(ids[order][place] == values, order[place] + 1, 0)


def class_quality(counts: PanopticCounts) -> dict[str, np.ndarray]:
    """Compute PQ, SQ and RQ of each class.

    Returns:
        ``{"PQ", "SQ", "RQ"}``, each (K,) in percent, and ``"counted"``, (K,) bool. A class without any match, false
        positive or false negative is not counted: its scores are 0 and enter no mean.

    >>> counts = PanopticCounts(np.array([1.6, 0.0]), np.array([2, 0]), np.array([1, 0]), np.array([1, 0]))
    >>> quality = class_quality(counts)
    >>> quality["PQ"].round(2), quality["SQ"], quality["counted"]
    (array([53.33,  0.  ]), array([80.,  0.]), array([ True, False]))
    """
    weight = counts.tp + 0.5 * counts.fp + 0.5 * counts.fn
    counted = weight > 0
    safe = np.where(counted, weight, 1.0)
    return {
        "PQ": 100 * counts.iou / safe,
        "SQ": 100 * counts.iou / np.maximum(counts.tp, 1),
        "RQ": 100 * counts.tp / safe,
        "counted": counted,
    }


def group_quality(quality: Mapping[str, np.ndarray], classes: Iterable[int]) -> dict[str, float | int]:
    """Average over the counted classes among `classes`.

    Returns:
        ``{"PQ", "SQ", "RQ"}`` in percent (NaN if no class is counted) and their number, ``n``.

    >>> counts = PanopticCounts(np.array([1.6, 0.0]), np.array([2, 0]), np.array([0, 0]), np.array([0, 0]))
    >>> group_quality(class_quality(counts), range(2))
    {'PQ': 80.0, 'SQ': 80.0, 'RQ': 100.0, 'n': 1}
    """
    members = [k for k in classes if quality["counted"][k]]
    means: dict[str, float] = {
        key: float(np.mean(quality[key][members])) if members else float("nan") for key in ("PQ", "SQ", "RQ")
    }
    return {**means, "n": len(members)}


def harmonic_mean(a: float, b: float) -> float:
    """Return 2ab / (a + b): 0 if both are 0, NaN if either is NaN.

    >>> harmonic_mean(60.0, 20.0)
    30.0
    """
    return 2 * a * b / (a + b) if a + b else a + b
