"""Deformable attention sampling on a CPU: all samples of a query are one bag of rows of a table.

``torch.embedding_bag`` sums weighted rows with vector instructions and stores none of them, whereas ``grid_sample`` on
many small heads moves single numbers. For the table see :mod:`.table_cpu`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .softmax_cpu import softmax
from .table_cpu import (
    Grid,
    Samples,
    Shapes,
    bilinear_weights,
    corner_rows,
    first_cells,
    framed_levels,
    locate,
    make_grid,
    make_table,
    sum_bags,
)

__all__ = ["available", "sampler", "softmax"]

warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state", UserWarning)

_QUERIES = 1024  # at a time: indices and weights stay in the cache
_EXACT = 1 << 24  # float32 counts rows up to here


def available(value: Tensor, shapes: Sequence[tuple[int, int]]) -> bool:
    """Return whether :func:`sampler` applies: a CPU, few enough (B, S, M, D) values to count, and torch not tracing."""
    small = value.shape[2] * sum((h + 2) * (w + 1) for h, w in shapes) < _EXACT // 2
    return value.device.type == "cpu" and small and not torch.compiler.is_compiling()


def sampler(value: Tensor, shapes: Sequence[tuple[int, int]]) -> Callable[[Tensor, Tensor], Tensor]:
    """Bind :func:`ms_deform_attn` to one value.

    Where no gradient is recorded, the table is made once for all calls. Sums are taken in float32, or in float64 for
    float64 values.

    Args:
        value: (B, S, M, D): S = Σ h·w flattened levels, M heads, D channels per head.
        shapes: (h, w) of each level.

    Returns:
        A function of (B, L, M, levels, points, 2) locations as (x, y) in [0, 1] and (B, L, M, levels, points) weights
        to (B, L, M·D) in the value's precision. Samples outside are 0.
    """
    levels = tuple((int(h), int(w)) for h, w in shapes)
    if torch.is_grad_enabled():
        return lambda locations, weights: _Gather.apply(value, locations, weights, levels)
    tables = [make_table(image, levels) for image in value]
    return lambda locations, weights: _gather(tables, levels, locations, weights, value.dtype)


def _gather(tables: list[Tensor], shapes: Shapes, locations: Tensor, weights: Tensor, dtype: torch.dtype) -> Tensor:
    """Sample one table per image, as :func:`sampler` describes."""
    heads, points = locations.shape[2], locations.shape[4]
    grid = make_grid(shapes, heads, points, tables[0].dtype)
    output = torch.empty(*locations.shape[:2], heads * tables[0].shape[-1], dtype=dtype)
    for table, image_locations, image_weights, out in zip(tables, locations, weights, output):
        for start in range(0, len(out), _QUERIES):
            part = slice(start, start + _QUERIES)
            rows, x, y = locate(grid, image_locations[part].to(table.dtype))
            shares = bilinear_weights(image_weights[part].flatten(1).to(table.dtype), x, y)
            indices = corner_rows(grid, rows)  # (c, M, 4, samples): a bag per query and head
            bag_weights = torch.stack([share.unflatten(1, (heads, -1)) for share in shares], 2)
            firsts = torch.arange(0, indices.numel(), indices[0, 0].numel(), dtype=torch.int32)
            out[part] = sum_bags(table, indices.flatten(), firsts, bag_weights.flatten()).view(len(rows), -1)
    return output


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, locations: Tensor, weights: Tensor, shapes: Shapes) -> Tensor:
        ctx.save_for_backward(value, locations, weights)
        ctx.shapes = shapes
        return _gather([make_table(image, shapes) for image in value], shapes, locations, weights, value.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        saved = value, locations, weights = ctx.saved_tensors
        images = [_image_gradients(v, at, w, g, ctx.shapes) for v, at, w, g in zip(value, locations, weights, gradient)]
        to_value, to_locations, to_weights = (
            torch.stack(parts).to(given.dtype) for parts, given in zip(zip(*images), saved)
        )
        return to_value, to_locations, to_weights, None


def _image_gradients(
    value: Tensor, locations: Tensor, weights: Tensor, gradient: Tensor, shapes: Shapes
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of one image's value, locations and weights; (L, M·D) is that of its output."""
    if not len(locations):
        return torch.zeros_like(value), torch.zeros_like(locations), torch.zeros_like(weights)
    table = make_table(value, shapes)
    heads, points = locations.shape[1], locations.shape[3]
    grid = make_grid(shapes, heads, points, table.dtype)
    gradient = gradient.to(table.dtype).reshape(-1, value.shape[-1])  # (L·M, D)
    to_locations = torch.empty(locations.shape, dtype=table.dtype)
    to_weights = torch.empty(weights.shape, dtype=table.dtype)
    all_rows = torch.empty(len(locations), weights[0].numel(), dtype=torch.int32)
    all_shares = torch.empty(4, *all_rows.shape, dtype=table.dtype)
    for start in range(0, len(locations), _QUERIES):
        part = slice(start, start + _QUERIES)
        at, weight = locations[part].to(table.dtype), weights[part].flatten(1).to(table.dtype)
        samples = locate(grid, at)
        rows, x, y = samples
        torch.stack(bilinear_weights(weight, x, y), out=all_shares[:, part])
        all_rows[part] = rows
        indices = corner_rows(grid, rows).flatten(0, 1).flatten(1)
        products = _dot_products(table, indices, gradient[start * heads : (start + len(rows)) * heads])
        corners = [c.reshape(rows.shape) for c in products.view(len(rows), heads, 4, -1).unbind(2)]
        to_weights[part], to_locations[part] = _sample_gradients(grid, at, weight, samples, corners)
    to_table = _table_gradient(all_rows, all_shares, gradient, len(table), grid, shapes)
    levels = framed_levels(to_table.unflatten(0, (-1, heads)), shapes)
    return torch.cat([level[1:-1, 1:].flatten(0, 1) for level in levels]), to_locations, to_weights


def _dot_products(table: Tensor, indices: Tensor, gradient: Tensor) -> Tensor:
    """Return (bags, rows) dot products of each table row of a bag with the gradient (bags, D) of the bag's sum.

    They are a few entries of the product of two matrices: faster than torch's own gradient of a bag's weights.
    """
    bags, rows = indices.shape
    firsts = torch.arange(0, indices.numel() + 1, rows, dtype=torch.int32)
    zeros, size = table.new_zeros(indices.numel()), (bags, len(table))
    entries = torch.sparse_csr_tensor(firsts, indices.flatten(), zeros, size, check_invariants=False)
    return torch.sparse.sampled_addmm(entries, gradient, table.T, beta=0.0).values().view(indices.shape)


def _sample_gradients(
    grid: Grid, locations: Tensor, weight: Tensor, samples: Samples, corners: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the gradients of weights (c, M, levels, points) and of locations (…, 2).

    Args:
        corners: the dot products of each of a sample's four cells with the output's gradient. The gradient of the
            weight is their bilinear blend; that of x is how the blend changes from left to right.
    """
    _, x, y = samples
    upper_left, upper_right, lower_left, lower_right = corners
    above, below = upper_left.lerp(upper_right, x), lower_left.lerp(lower_right, x)
    to_x = (upper_right - upper_left).lerp(lower_right - lower_left, y) * weight * grid.width
    to_y = (below - above) * weight * grid.height
    # Samples outside have no slope; the first that has one lies half a cell before the border.
    sizes = torch.stack((grid.width, grid.height), -1).view(locations.shape[1:])
    cells = locations * sizes - 0.5
    inside = (cells >= -1) & (cells < sizes)
    to_locations = torch.stack((to_x, to_y), -1).view(locations.shape) * inside
    return above.lerp(below, y).view(locations.shape[:-1]), to_locations


def _table_gradient(rows: Tensor, shares: Tensor, gradient: Tensor, size: int, grid: Grid, shapes: Shapes) -> Tensor:
    """Return the (size, D) gradient of the table.

    Sorted by their upper left cell, the samples that read a cell are one bag of output gradients. One pass per corner
    sums these bags, and adds them at the corner's distance from the cell.

    Args:
        rows: (L, M·samples).
        shares: (4, L, M·samples).
        gradient: (L·M, D).
    """
    heads = len(grid.corners)
    order = rows.flatten().sort(stable=True).indices
    counts = torch.bincount(rows.flatten(), minlength=size)
    firsts = (counts.cumsum(0) - counts).int()
    bags = (order // grid.corners.shape[-1]).int()  # of each sample, the query and head that it belongs to
    limits = [first * heads for first in first_cells(shapes)]
    result = torch.zeros(size, gradient.shape[1], dtype=gradient.dtype)
    for right, down, share in zip((0, 1, 0, 1), (0, 0, 1, 1), shares.flatten(1)):
        sums = sum_bags(gradient, bags, firsts, share.index_select(0, order))
        for (_, w), first, last in zip(shapes, limits, limits[1:]):
            step = (right + down * (w + 1)) * heads
            last = min(last, size - step)
            result[first + step : last + step] += sums[first:last]
    return result
