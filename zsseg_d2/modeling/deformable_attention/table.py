"""The table that deformable attention reads on a CPU: cells of all levels as rows, and where samples lie among them.

Each level has a frame of zeros, so that no sample asks whether it lies outside.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

Shapes = tuple[tuple[int, int], ...]
"""(h, w) of each level."""


@dataclass(frozen=True)
class Grid:
    """For each sample of a query, (M·levels·points,) numbers of its level and head."""

    width: Tensor
    height: Tensor
    row: Tensor  # table rows from one row of cells to the next
    origin: Tensor  # table row of the level's cell (0, 0)
    corners: Tensor  # (M, 4, levels·points) int32 steps to a cell, its right, its lower and its lower right neighbour
    floor: Tensor  # () -1: from here to the left or above, samples are 0
    last: int  # largest row of an upper left cell


@functools.lru_cache(maxsize=64)
def grid_of(shapes: Shapes, heads: int, points: int, dtype: torch.dtype) -> Grid:
    """The numbers of these levels, made once."""
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
    """First cell of each framed level in the table, and one past the last: h + 2 rows of a zero and w cells."""
    firsts = [0]
    for h, w in shapes:
        firsts.append(firsts[-1] + (h + 2) * (w + 1))
    return firsts


def make_table(value: Tensor, shapes: Shapes) -> Tensor:
    """(S, M, D) values of an image to (cells · M, D) rows, float32 or float64."""
    dtype = torch.float64 if value.dtype == torch.float64 else torch.float32
    # A row more: what lies below the last frame has weight 0, but is read.
    table = torch.empty(first_cells(shapes)[-1] + shapes[-1][1] + 3, *value.shape[1:], dtype=dtype)
    table[first_cells(shapes)[-1] :] = 0
    for level, cells, (h, w) in zip(framed_levels(table, shapes), value.split([h * w for h, w in shapes]), shapes):
        level[0], level[-1], level[:, 0] = 0, 0, 0
        level[1:-1, 1:] = cells.unflatten(0, (h, w))
    return table.flatten(0, 1)


def framed_levels(table: Tensor, shapes: Shapes) -> list[Tensor]:
    """Views (h + 2, w + 1, M, D) of the levels with their frames in (cells, M, D)."""
    return [
        table[first : first + (h + 2) * (w + 1)].unflatten(0, (h + 2, w + 1))
        for first, (h, w) in zip(first_cells(shapes), shapes)
    ]


def cells_of(grid: Grid, locations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(c, M, levels, points, 2) to (c, M·levels·points): int32 table rows of the upper left cells, and how far right and below
    of their centres the samples lie, in cells."""
    x = (locations[..., 0].flatten(1) * grid.width).sub_(0.5)
    y = (locations[..., 1].flatten(1) * grid.height).sub_(0.5)
    x, y = torch.clamp(x, grid.floor, grid.width), torch.clamp(y, grid.floor, grid.height)
    left, top = x.floor(), y.floor()
    rows = torch.addcmul(grid.origin, top, grid.row).add_(left, alpha=len(grid.corners)).int()
    # What is not a number has no row; its share is not a number either, and so is what it adds to.
    return rows.clamp_(0, grid.last), x.sub_(left), y.sub_(top)


def bilinear_weights(weights: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A sample's weight, spread over its four cells."""
    below = y * weights
    above = weights - below
    lower_right, upper_right = below * x, above * x
    return above - upper_right, upper_right, below - lower_right, lower_right


def corner_rows(grid: Grid, rows: Tensor) -> Tensor:
    """(c, M, 4, samples) table rows that a query's head reads: the samples of one corner after those of another."""
    return rows.unflatten(1, (len(grid.corners), 1, -1)) + grid.corners


def sum_rows(table: Tensor, indices: Tensor, firsts: Tensor, weights: Tensor) -> Tensor:
    """(bags, D) weighted sums of table rows: ``indices`` and ``weights`` from each of ``firsts`` to the next are one bag."""
    return torch.nn.functional.embedding_bag(indices, table, firsts, mode="sum", per_sample_weights=weights)
