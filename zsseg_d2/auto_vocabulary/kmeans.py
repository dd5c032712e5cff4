"""k-means with seeded k-means++ starts."""

from __future__ import annotations

import numpy as np


def kmeans(
    points: np.ndarray,
    k: int,
    seed: int | tuple[int, ...],
    *,
    restarts: int = 8,
    iterations: int = 100,
    tolerance: float = 1e-4,
) -> np.ndarray:
    """Cluster points by Lloyd's algorithm from k-means++ starts (Arthur & Vassilvitskii 2007), and keep the best.

    A cluster that loses all its points keeps its center, so it may stay empty. There are at most as many clusters as
    distinct points.

    Args:
        points: (n, C) float32 or float64, n ≥ 1.
        k: number of clusters.
        seed: of the starts; the result depends on it and on the arguments alone.
        restarts: starts, of which the one with the least sum of squared distances is kept.
        iterations: at most.
        tolerance: stop when the centers of a restart have moved by less than this times the mean variance of the
            points, as a sum of squares.

    Returns:
        (n,) int64 in [0, k).

    Raises:
        ValueError: there is no point or no cluster.
    """
    if not len(points) or k < 1 or restarts < 1:
        raise ValueError(f"{len(points)} points cannot be clustered into {k} clusters in {restarts} restarts.")
    points = points - points.mean(0)  # smaller numbers lose less when squares are subtracted
    generator = np.random.default_rng(seed)
    centers = [_plus_plus(points, min(k, len(points)), generator) for _ in range(restarts)]
    enough = tolerance * float(points.var(0).mean())
    best_labels, best_cost = np.zeros(len(points), np.int64), np.inf
    for start in centers:
        labels, cost = _lloyd(points, start, iterations, enough)
        if cost < best_cost:
            best_labels, best_cost = labels, cost
    return best_labels


def _plus_plus(points: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:
    """Draw up to k starting centers: each next one with a probability by its squared distance to the nearest."""
    chosen = [int(generator.integers(len(points)))]
    nearest = _squared(points - points[chosen[0]])
    while len(chosen) < k:
        total = np.cumsum(nearest, dtype=np.float64)
        if not total[-1] > 0:  # every point is a center already
            break
        drawn = np.searchsorted(total, generator.random() * total[-1], side="right")
        chosen.append(min(int(drawn), len(points) - 1))
        nearest = np.minimum(nearest, _squared(points - points[chosen[-1]]))
    return points[chosen]


def _lloyd(points: np.ndarray, centers: np.ndarray, iterations: int, enough: float) -> tuple[np.ndarray, float]:
    """Return labels (n,) and the sum of squared distances of the points to their centers."""
    squares = _squared(points)
    for _ in range(max(1, iterations)):
        labels = _nearest(points, centers)
        sizes = np.bincount(labels, minlength=len(centers))
        sums = np.zeros_like(centers)
        member = np.zeros((len(centers), len(points)), points.dtype)
        member[labels, np.arange(len(points))] = 1
        np.matmul(member, points, out=sums)
        moved = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centers).astype(points.dtype)
        shift = float(_squared(moved - centers).sum())
        centers = moved
        if shift <= enough:
            break
    labels = _nearest(points, centers)
    cost = squares - 2 * np.einsum("nc,nc->n", points, centers[labels]) + _squared(centers)[labels]
    return labels, float(cost.sum(dtype=np.float64))


def _nearest(points: np.ndarray, centers: np.ndarray) -> np.ndarray:
    return (_squared(centers)[None] - 2 * (points @ centers.T)).argmin(1)


def _squared(vectors: np.ndarray) -> np.ndarray:
    return np.einsum("nc,nc->n", vectors, vectors)
