"""The table that deformable attention reads on a CPU: the cells of all levels as rows, framed by zeros.

A level of 2 x 2 cells a b / c d takes 4 x 3 cells of the table, row by row::

    0 0 0
    0 a b
    0 c d
    0 0 0

The zero to the left of one row is also the zero to the right of the row above, so one column is enough. With the frame,
every sample reads four cells of the table and none has to be checked for lying outside. Each cell is M rows of the
table, one per head.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Shapes = tuple[tuple[int, int], ...]
"""(h, w) of each level."""


@dataclass(frozen=True)
class Grid:
    """Constants of the samples of one query: (M·levels·points,) numbers of each sample's level and head.

    Attributes:
        width, height: size of the level.
        row: table rows from one row of cells to the next.
        origin: table row of the level's cell (0, 0).
        corners: (M, 4, levels·points) int32 table rows from a cell to itself, its right, lower and lower right
            neighbour.
        floor: () -1; samples at or beyond this cell to the left or above are 0.
        last: largest table row of an upper left cell.
    """

    width: Tensor
    height: Tensor
    row: Tensor
    origin: Tensor
    corners: Tensor
    floor: Tensor
    last: int


class Samples(NamedTuple):
    """Where samples lie, each (c, M·levels·points).

    Attributes:
        rows: int32 table rows of their upper left cells.
        x, y: how far to the right of that cell's centre and below it they lie, in cells.
    """

    rows: Tensor
    x: Tensor
    y: Tensor


@functools.lru_cache(maxsize=64)
def make_grid(shapes: Shapes, heads: int, points: int, dtype: torch.dtype) -> Grid:
    """Return the constants of these levels; made once."""
    with torch.inference_mode(False):  # kept beyond any evaluation

        def each(numbers: list[int]) -> Tensor:
            return torch.tensor(numbers, dtype=dtype).repeat_interleave(points).repeat(heads)

        head = torch.arange(heads, dtype=dtype).repeat_interleave(points * len(shapes))
        width, height = each([w for _, w in shapes]), each([h for h, _ in shapes])
        row = (width + 1) * heads
        origin = (each(first_cells(shapes)[:-1]) + width + 2) * heads + head
        steps = torch.stack((torch.zeros_like(row), torch.full_like(row, heads), row, row + heads)).int()
        corners = steps.unflatten(1, (heads, -1)).transpose(0, 1).contiguous()
        last = int((origin + height * row + width * heads).max())
        return Grid(width, height, row, origin, corners, torch.tensor(-1.0, dtype=dtype), last)


def first_cells(shapes: Shapes) -> list[int]:
    """Return the first table cell of each framed level, and one past the last.

    Example:
        >>> first_cells(((2, 2), (1, 4)))  # 4 x 3 cells, then 3 x 5
        [0, 12, 27]
    """
    firsts = [0]
    for h, w in shapes:
        firsts.append(firsts[-1] + (h + 2) * (w + 1))
    return firsts


def make_table(value: Tensor, shapes: Shapes) -> Tensor:
    """Copy the (S, M, D) values of an image to (cells·M, D) table rows in float32, or float64 for float64.

    Example:
        >>> make_table(torch.tensor([1.0, 2, 3, 4]).view(4, 1, 1), ((2, 2),))[:12].view(4, 3).int().tolist()
        [[0, 0, 0], [0, 1, 2], [0, 3, 4], [0, 0, 0]]
    """
    dtype = torch.float64 if value.dtype == torch.float64 else torch.float32
    # A row of cells more: below the last frame, samples are read with weight 0.
    table = torch.empty(first_cells(shapes)[-1] + shapes[-1][1] + 3, *value.shape[1:], dtype=dtype)
    table[first_cells(shapes)[-1] :] = 0
    for level, cells, (h, w) in zip(framed_levels(table, shapes), value.split([h * w for h, w in shapes]), shapes):
        level[0], level[-1], level[:, 0] = 0, 0, 0
        level[1:-1, 1:] = cells.unflatten(0, (h, w))
    return table.flatten(0, 1)


def framed_levels(table: Tensor, shapes: Shapes) -> list[Tensor]:
    """Return views (h + 2, w + 1, M, D) of the levels with their frames in (cells, M, D)."""
    return [
        table[first : first + (h + 2) * (w + 1)].unflatten(0, (h + 2, w + 1))
        for first, (h, w) in zip(first_cells(shapes), shapes)
    ]


def locate(grid: Grid, locations: Tensor) -> Samples:
    """Find the cells that (c, M, levels, points, 2) locations read."""
    x = (locations[..., 0].flatten(1) * grid.width).sub_(0.5)
    y = (locations[..., 1].flatten(1) * grid.height).sub_(0.5)
    x, y = torch.clamp(x, grid.floor, grid.width), torch.clamp(y, grid.floor, grid.height)
    left, top = x.floor(), y.floor()
    rows = torch.addcmul(grid.origin, top, grid.row).add_(left, alpha=len(grid.corners)).int()
    # NaN has no row, so any will do: x and y are NaN too, and so is the sum they enter.
    return Samples(rows.clamp_(0, grid.last), x.sub_(left), y.sub_(top))


def bilinear_weights(weights: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split a sample's weight among its four cells: (1-x)(1-y), x(1-y), (1-x)y and xy of it.

    Example:
        >>> [float(w) for w in bilinear_weights(torch.tensor(1.0), torch.tensor(0.25), torch.tensor(0.5))]
        [0.375, 0.125, 0.375, 0.125]
    """
    below = y * weights
    above = weights - below
    lower_right, upper_right = below * x, above * x
    return above - upper_right, upper_right, below - lower_right, lower_right


def corner_rows(grid: Grid, rows: Tensor) -> Tensor:
    """Return the (c, M, 4, samples) table rows that each head of a query reads, corner by corner."""
    return rows.unflatten(1, (len(grid.corners), 1, -1)) + grid.corners


def sum_bags(table: Tensor, indices: Tensor, firsts: Tensor, weights: Tensor) -> Tensor:
    """Sum weighted table rows by bags.

    Args:
        table: (rows, D).
        indices, weights: (n,) the rows of all bags, one bag after another.
        firsts: (bags,) where each bag begins.

    Returns:
        (bags, D).
    """
    return torch.nn.functional.embedding_bag(indices, table, firsts, mode="sum", per_sample_weights=weights)
