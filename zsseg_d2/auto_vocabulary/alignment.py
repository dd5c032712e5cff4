"""Several clusterings of one image: brought to one grid, to one numbering, and to votes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment


def resize_labels(labels: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Resize a label map to another grid: each cell takes the label at its center.

    Args:
        labels: (h, w).
        grid: (H, W).

    Returns:
        (H, W).
    """
    rows, columns = (((2 * np.arange(n) + 1) * old) // (2 * n) for n, old in zip(grid, labels.shape))
    return labels[rows[:, None], columns]


def reference_of(clusterings: Sequence[np.ndarray]) -> int:
    """Return the position of the clustering with most non-empty clusters; the first of several.

    Args:
        clusterings: label maps (h, w).
    """
    return int(np.argmax([len(np.unique(labels)) for labels in clusterings]))


def align(labels: np.ndarray, reference: np.ndarray, count: int) -> np.ndarray:
    """Renumber clusters as those of the reference that they overlap most.

    Clusters are paired one to one by Hungarian matching on intersection over union.

    Args:
        labels: (h, w) int64.
        reference: (h, w) int64 in [0, count), with at least as many non-empty clusters.
        count: number of clusters of the reference.

    Returns:
        (h, w) int64 in [0, count).
    """
    own, inverse = np.unique(labels, return_inverse=True)
    pairs = inverse.ravel() * count + reference.ravel()
    common = np.bincount(pairs, minlength=len(own) * count).reshape(len(own), count).astype(float)
    union = common.sum(1, keepdims=True) + common.sum(0, keepdims=True) - common
    rows, columns = linear_sum_assignment(common / np.maximum(union, 1), maximize=True)
    new = np.zeros(len(own), np.int64)
    new[rows] = columns
    return new[inverse].reshape(labels.shape)


def votes(clusterings: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Compute the share of the clusterings that put each cell into each cluster: P(n|p) = (1/m) Σ δ(L_i(p) = n).

    Args:
        clusterings: m aligned label maps (h, w) in [0, count).
        count: number of clusters K.

    Returns:
        (h, w, K) float64; sums to 1 over K.
    """
    total = np.zeros((*clusterings[0].shape, count))
    for labels in clusterings:
        total += labels[..., None] == np.arange(count)
    return total / len(clusterings)
