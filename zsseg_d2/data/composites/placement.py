"""Where a foreground goes, and how large: a function of the settings, the composite's number and nothing else."""

from __future__ import annotations

from math import floor
from typing import NamedTuple

import numpy as np

from .settings import GRID, CompositeSettings


class Placement(NamedTuple):
    """A foreground of `height` x `width` pixels with its upper left corner at row `y`, column `x`."""

    height: int
    width: int
    y: int
    x: int


def place(settings: CompositeSettings, index: int, position: int, size: tuple[int, int]) -> Placement:
    """Return size and place of a foreground.

    The same random numbers are used at every side of the canvas, so that a composite at 96 pixels is the small version
    of the one at 192.

    Args:
        settings: how composites are made.
        index: number of the composite, which seeds its random numbers.
        position: number of the position.
        size: (height, width) of the foreground's file in pixels.
    """
    rng = np.random.default_rng([settings.seed, index])
    share, row, column = rng.random(3)
    low, high = settings.scale
    factor = (low + (high - low) * share) * settings.side / max(size)
    height, width = (max(1, round(length * factor)) for length in size)
    if settings.positions == "grid":
        y, x = grid_point(position, settings.grid_step or settings.side / 8)
    else:
        y = random_offset(row, settings.side, height, settings.overhang)
        x = random_offset(column, settings.side, width, settings.overhang)
    return Placement(height, width, y, x)


def grid_point(position: int, step: float) -> tuple[int, int]:
    """Return (y, x) of a position of the published grid, 0 to 19: columns from the left, each from the bottom up.

    Example:
        >>> [grid_point(k, 28) for k in (0, 1, 4, 19)]
        [(112, 0), (84, 0), (112, 28), (28, 112)]
    """
    column, row = divmod(position, GRID[1])
    return round((GRID[1] - row) * step), round(column * step)


def random_offset(number: float, side: int, length: int, overhang: float = 0.0) -> int:
    """Return an offset at which `length` pixels lie within `side` pixels; all of them are equally likely.

    Both borders are reached: the offsets are 0 to ``side - length``, and beyond by the overhang. Of a foreground longer
    than the canvas, every offset fills the canvas.

    Args:
        number: uniform in [0, 1).
        side: pixels of the canvas.
        length: pixels of the foreground.
        overhang: share of `length` that may lie beyond the border.
    """
    beyond = floor(overhang * length)
    first, last = sorted((0, side - length))
    first, last = first - beyond, last + beyond
    return first + floor(number * (last - first + 1))
