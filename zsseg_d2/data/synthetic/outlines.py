"""Masks -> polygons whose drawing by PhraseCut's rule (borders included, truncated, a union) gives the mask back."""

from __future__ import annotations

import numpy as np
from contourpy import contour_generator
from scipy import ndimage

Polygon = list[list[int]]  # [[x, y], ...] in pixels

_ALL_NEIGHBOURS = np.ones((3, 3), bool)
_INSIDE = 0.999  # of a step from 0 outside to 1 inside: the contour runs through the pixels of the border


def trace(mask: np.ndarray) -> list[Polygon]:
    """Return the outlines of a mask, one per connected part; a part with a hole is cut into two without a hole.

    Args:
        mask: (H, W) bool.
    Returns:
        Polygons through the centres of border pixels; none for an empty mask. Each has two points or more.
    """
    parts, _ = ndimage.label(mask)
    polygons = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
        part = np.pad(parts[rows, columns] == number, 1)
        for polygon in _trace_part(part):
            polygons.append([[x + columns.start - 1, y + rows.start - 1] for x, y in polygon])
    return polygons


def _trace_part(part: np.ndarray) -> list[Polygon]:
    """Return the outlines of one connected part with a border of background around it."""
    # A polygon cannot leave out its inside, and the rule knows no subtraction.
    background, count = ndimage.label(~part, _ALL_NEIGHBOURS)
    holes = ndimage.find_objects(np.where(background == background[0, 0], 0, background))
    hole = next((place for place in holes if place is not None), None) if count > 1 else None
    if hole is None:
        lines = contour_generator(z=part.astype(np.float64)).lines(_INSIDE)
        return [_corners(np.rint(np.asarray(line, np.float64)).astype(int)) for line in lines]
    cut = (hole[1].start + hole[1].stop) // 2
    left, right = part.copy(), part.copy()
    left[:, cut:], right[:, :cut] = False, False
    return trace(left) + trace(right)


def _corners(line: np.ndarray) -> Polygon:
    """Return the pixels at which a closed line of neighbouring pixels (P, 2) turns."""
    moves = np.any(line != np.roll(line, 1, 0), 1)
    if not moves.any():  # a single pixel; a polygon with fewer than two points would be skipped
        return line[[0, 0]].tolist()
    line = line[moves]
    before, after = line - np.roll(line, 1, 0), np.roll(line, -1, 0) - line
    return line[np.any(before != after, 1)].tolist()
