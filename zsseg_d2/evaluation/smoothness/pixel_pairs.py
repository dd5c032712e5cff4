"""Random pairs of pixels within one object and across two, optionally at the same displacements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class PixelPairs:
    """Hold the two populations of pairs of one image."""

    within: np.ndarray  # (P,) int64, absolute differences of grey levels within one object
    across: np.ndarray  # (P,) int64, absolute differences of grey levels across two objects
    within_distance: np.ndarray  # (P,) float64, pixels
    across_distance: np.ndarray  # (P,) float64, pixels
    dropped: int = 0  # pairs within an object without a partner across at the same distance


def draw_pairs(
    grey: np.ndarray, objects: np.ndarray, count: int, rng: np.random.Generator, *, matched: bool
) -> PixelPairs | None:
    """Draw `count` pairs of each population from one image.

    The first pixel of a pair is uniform over the pixels of all objects, the second over the other pixels of the same
    object, or of other objects. With `matched`, each pair within an object gets a pair across two objects with exactly
    the same displacement, uniform over all such positions of the image; pairs without one are dropped from both.

    Args:
        grey: (H, W) integer grey levels of any type.
        objects: (H, W) integers, 0 = no object.
        count: pairs per population.
        rng: source of randomness.
        matched: give both populations the same displacements.

    Returns:
        None if no pair can be drawn: there are fewer than two objects, or none has two pixels.

    >>> objects = np.repeat([[1, 1, 2, 2]], 4, axis=0)
    >>> pairs = draw_pairs(10 * objects, objects, 100, np.random.default_rng(0), matched=False)
    >>> pairs.within.mean(), pairs.across.mean()
    (np.float64(0.0), np.float64(10.0))
    """
    flat = objects.reshape(-1)
    order = np.argsort(flat, kind="stable")
    order = order[np.searchsorted(flat[order], 1) :]  # pixels of objects, object after object
    _, starts, sizes = np.unique(flat[order], return_index=True, return_counts=True)
    if len(sizes) < 2 or sizes.max() < 2:
        return None
    block = np.repeat(np.arange(len(sizes)), sizes)
    start, size = starts[block], sizes[block]  # of the object of each pixel in `order`

    first = rng.choice(np.flatnonzero(size > 1), count)
    second = start[first] + rng.integers(0, size[first] - 1)
    second += second >= first  # not the pixel itself
    within = order[first], order[second]
    if matched:
        across, found = _same_displacement(objects, *within, rng)
        within = within[0][found], within[1][found]
    else:
        first = rng.integers(0, len(order), count)
        second = rng.integers(0, len(order) - size[first])
        second += np.where(second >= start[first], size[first], 0)  # steps over the object itself
        across = order[first], order[second]
    width = objects.shape[1]
    return PixelPairs(
        differences(grey, *within),
        differences(grey, *across),
        _distance(*within, width),
        _distance(*across, width),
        dropped=count - len(within[0]),
    )


def differences(grey: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return |grey[first] - grey[second]|, (P,) int64, at flat indices; signed, because unsigned bytes wrap around."""
    flat = grey.reshape(-1)
    return np.abs(flat[first].astype(np.int64) - flat[second].astype(np.int64))


def _same_displacement(
    objects: np.ndarray, first: np.ndarray, second: np.ndarray, rng: np.random.Generator, tries: int = 200
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Draw pairs across objects with given displacements by rejection, and tell which of the given pairs have one."""
    height, width = objects.shape
    flat = objects.reshape(-1)
    down, right = second // width - first // width, second % width - first % width
    a, b = np.full(len(first), -1), np.full(len(first), -1)
    left = np.arange(len(first))
    for _ in range(tries):
        if not len(left):
            break
        dy, dx = down[left], right[left]
        y = np.maximum(-dy, 0) + rng.integers(0, height - np.abs(dy))
        x = np.maximum(-dx, 0) + rng.integers(0, width - np.abs(dx))
        p, q = y * width + x, (y + dy) * width + x + dx
        good = (flat[p] != flat[q]) & (flat[p] > 0) & (flat[q] > 0)
        a[left[good]], b[left[good]] = p[good], q[good]
        left = left[~good]
    found = a >= 0
    return (a[found], b[found]), found


def _distance(first: np.ndarray, second: np.ndarray, width: int) -> np.ndarray:
    return np.hypot(second // width - first // width, second % width - first % width)
