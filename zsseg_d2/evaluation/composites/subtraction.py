"""The baseline of composites: a pixel belongs to the object if it differs from the background by more than a threshold.

All 256 thresholds are counted at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .scores import MaskCounts


class Differences(NamedTuple):
    """Pixels of one image by the largest difference of a channel: (256,) int64 inside and outside the mask."""

    inside: np.ndarray
    outside: np.ndarray

    def at(self, threshold: int) -> MaskCounts:
        """Return the counts of the mask of all pixels whose difference is greater than a threshold."""
        hits, rest = int(self.inside[threshold + 1 :].sum()), int(self.outside[threshold + 1 :].sum())
        truth = int(self.inside.sum())
        return MaskCounts(hits, hits + rest, truth, truth + int(self.outside.sum()))


def count_differences(image: np.ndarray, background: np.ndarray, truth: np.ndarray) -> Differences:
    """Count the pixels of a composite by their difference from the background.

    Args:
        image: (3, H, W) uint8.
        background: (3, H, W) uint8.
        truth: (H, W) bool.
    """
    largest = np.abs(image.astype(np.int16) - background.astype(np.int16)).max(0)
    return Differences(np.bincount(largest[truth], minlength=256), np.bincount(largest[~truth], minlength=256))


def best_threshold(differences: Sequence[Differences]) -> int:
    """Return the threshold, 0 to 254, with the largest mean IoU; of several the smallest.

    Args:
        differences: of the images of a validation split, never of a test split.
    """
    hits, others = (
        np.stack([np.cumsum(part[::-1])[::-1] for part in parts])  # pixels whose difference is at least the column
        for parts in zip(*differences)
    )
    union = hits[:, :1] + others
    iou = np.where(union > 0, hits / np.maximum(union, 1), 1.0).mean(0)
    return int(iou[1:].argmax())  # "at least t + 1" is "greater than t"
