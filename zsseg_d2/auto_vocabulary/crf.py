"""Smoothing of votes: a mean field with a Gaussian, and the majority of neighbors."""

from __future__ import annotations

import numpy as np


def gaussian(taps: int, theta: float) -> np.ndarray:
    """Return a 2-D Gaussian without its center.

    Args:
        taps: cells a side; odd.
        theta: standard deviation in cells.

    Returns:
        (taps, taps): exp(-(dy² + dx²) / 2θ²), 0 in the middle. It is not normalized.

    Raises:
        ValueError: `taps` is even.
    """
    if taps % 2 == 0:
        raise ValueError(f"A kernel of {taps} cells has no center. Fix: choose an odd number.")
    line = np.arange(taps) - taps // 2
    kernel = np.exp(-(line[:, None] ** 2 + line[None] ** 2) / (2 * theta**2))
    kernel[taps // 2, taps // 2] = 0
    return kernel


def mean_field(
    votes: np.ndarray,
    *,
    taps: int = 11,
    iterations: int = 5,
    weight: float = 6.0,
    theta: float = 0.8,
    floor: float = 1e-6,
) -> np.ndarray:
    """Smooth the votes of cells by the mean field of a Potts model (Krähenbühl & Koltun 2011, algorithm 1).

    Unaries are -log of the votes. Cells pull one another by a Gaussian of their distance; cells beyond the border do
    not exist. Q(p, n) ∝ P(n|p) · exp(weight · Σ_q kernel(p - q) · Q(q, n)), repeated.

    Args:
        votes: (h, w, K), sums to 1 over K.
        taps, theta: see :func:`gaussian`.
        iterations: of the mean field.
        weight: of neighbors; 0 changes nothing.
        floor: added to all votes, which are then normalized again.

    Returns:
        (h, w, K) float64; sums to 1 over K.
    """
    from scipy import ndimage  # slow to import

    votes = votes + floor
    votes = votes / votes.sum(-1, keepdims=True)
    kernel = gaussian(taps, theta)[..., None]  # (taps, taps, 1): rows, columns, clusters apart
    with np.errstate(divide="ignore"):
        unary = np.log(votes)
    found = votes
    for _ in range(iterations if weight else 0):
        message = ndimage.correlate(found, kernel, mode="constant", cval=0.0)
        energy = unary + weight * message
        found = np.exp(energy - energy.max(-1, keepdims=True))
        found /= found.sum(-1, keepdims=True)
    return found


def majority(labels: np.ndarray, rounds: int = 8) -> np.ndarray:
    """Give each cell the most frequent label of its 3x3 neighborhood, until nothing changes.

    The border is replicated. Of several labels that are equally frequent, the lowest wins.

    Args:
        labels: (h, w) int64, not negative.
        rounds: at most.

    Returns:
        (h, w) int64.
    """
    h, w = labels.shape
    for _ in range(rounds):
        present = np.unique(labels)
        padded = np.pad(labels, 1, mode="edge")
        masks = padded == present[:, None, None]
        counts = sum(masks[:, y : y + h, x : x + w].astype(np.int64) for y in range(3) for x in range(3))
        new = present[np.argmax(counts, axis=0)]
        if (new == labels).all():
            break
        labels = new
    return labels
