"""Intersection over union of the semantic output, counted against the panoptic annotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PixelCounts:
    """Pixels of each class (K,), void ones left out: of both maps, of the truth, of the prediction."""

    both: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(self.both + other.both, self.truth + other.truth, self.predicted + other.predicted)


def count_pixels(ids: np.ndarray, segments: Sequence[Mapping], predicted: np.ndarray, num_classes: int) -> PixelCounts:
    """Count the pixels of an image.

    Args:
        ids: (H, W) segment ids of the truth; ids that are not in `segments` are void.
        segments: ``{id, category_id}`` of each segment, crowds included, category ids in [0, K).
        predicted: (H, W) class of each pixel, in [0, K).
        num_classes: K.

    Raises:
        ValueError: the maps differ in size.
    """
    if ids.shape != predicted.shape:
        raise ValueError(f"the semantic output has {predicted.shape} pixels, the annotation {ids.shape}")
    present, inverse = np.unique(ids, return_inverse=True)
    class_of = {int(s["id"]): int(s["category_id"]) for s in segments}
    truth = np.array([class_of.get(int(i), num_classes) for i in present])[inverse.reshape(-1)]
    found = predicted.reshape(-1)[truth < num_classes]
    truth = truth[truth < num_classes]
    count = [np.bincount(classes, minlength=num_classes) for classes in (truth[truth == found], truth, found)]
    return PixelCounts(*count)


def class_iou(counts: PixelCounts) -> np.ndarray:
    """Return the intersection over union of each class (K,) in percent, NaN for a class that is in neither map.

    >>> class_iou(PixelCounts(np.array([3, 0]), np.array([4, 0]), np.array([3, 0]))).tolist()
    [75.0, nan]
    """
    union = counts.truth + counts.predicted - counts.both
    return np.divide(100.0 * counts.both, union, out=np.full(len(union), np.nan), where=union > 0)
