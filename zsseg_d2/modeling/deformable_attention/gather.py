"""``deformable_attention.ms_deform_attn`` on a CPU: all samples of a query are one bag of rows of a table.

``torch.embedding_bag`` sums weighted rows with vector instructions and stores no row; ``grid_sample`` on many small heads
moves single numbers. The table holds the cells of all levels with a frame of zeros, so that no sample asks where it lies.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .table import (
    Grid,
    Shapes,
    bilinear_weights,
    cells_of,
    corner_rows,
    first_cells,
    framed_levels,
    grid_of,
    make_table,
    sum_rows,
)

warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state", UserWarning)

_QUERIES = 1024  # at a time: indices and weights stay in the cache
_EXACT = 1 << 24  # float32 counts rows up to here


def available(value: Tensor, shapes: Sequence[tuple[int, int]]) -> bool:
    """Whether :func:`sampler` does: (B, S, M, D) values on a CPU, few enough to count; not while torch traces."""
    small = value.shape[2] * sum((h + 2) * (w + 1) for h, w in shapes) < _EXACT // 2
    return value.device.type == "cpu" and small and not torch.compiler.is_compiling()


def sampler(value: Tensor, shapes: Sequence[tuple[int, int]]) -> Callable[[Tensor, Tensor], Tensor]:
    """What samples ``value`` at locations and sums with weights (Zhu et al. 2021, equation 3).

    The table is made once for all calls where no gradient is recorded. Sums are taken in float32, or in float64.

    Args:
        value: (B, S, M, D): S = Σ h·w flattened levels, M heads, D channels a head.
        shapes: (h, w) of each level.

    Returns:
        (B, L, M, levels, points, 2) locations as (x, y) in [0, 1] and (B, L, M, levels, points) weights to (B, L, M·D) in
        the value's precision. A location outside reads 0.
    """
    shapes = tuple((int(h), int(w)) for h, w in shapes)
    if torch.is_grad_enabled():
        return lambda locations, weights: _SampleAndWeigh.apply(value, locations, weights, shapes)
    tables = [make_table(image, shapes) for image in value]
    return lambda locations, weights: _gather(tables, shapes, locations, weights, value.dtype)


def softmax(logits: Tensor, heads: int) -> Tensor:
    """Softmax of each head's samples: many short rows at once, by one matrix product a direction.

    Args:
        logits: (..., M·samples) float32 or float64 on a CPU.

    Returns:
        (..., M, samples).
    """
    return _Softmax.apply(logits, heads)


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, heads: int) -> Tensor:
        weights = (logits - logits.amax(-1, keepdim=True)).exp_()
        with torch.autocast("cpu", enabled=False):
            sums = weights @ _members(heads, logits.shape[-1] // heads, logits.dtype)
        # A head whose logits all lie far below another's has no digits left (and what is not a number stays so).
        few = not bool((sums > 1e-30).all())
        weights = (
            logits.unflatten(-1, (heads, -1)).softmax(-1) if few else weights.div_(sums).unflatten(-1, (heads, -1))
        )
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        products = (gradient * weights).flatten(-2)
        sums = products @ _members(*weights.shape[-2:], weights.dtype)
        return products.sub_(sums.mul_(weights.flatten(-2))), None


@functools.lru_cache(maxsize=16)
def _members(heads: int, samples: int, dtype: torch.dtype) -> Tensor:
    """(M·samples, M·samples) 1 where two samples are of one head."""
    with torch.inference_mode(False):  # kept beyond any evaluation
        return torch.block_diag(*torch.ones(heads, samples, samples, dtype=dtype))


def _gather(tables: list[Tensor], shapes: Shapes, locations: Tensor, weights: Tensor, dtype: torch.dtype) -> Tensor:
    heads, points = locations.shape[2], locations.shape[4]
    grid = grid_of(shapes, heads, points, tables[0].dtype)
    output = torch.empty(*locations.shape[:2], heads * tables[0].shape[-1], dtype=dtype)
    for table, places, shares, out in zip(tables, locations, weights, output):
        for start in range(0, len(places), _QUERIES):
            rows, x, y = cells_of(grid, places[start : start + _QUERIES].to(table.dtype))
            parts = bilinear_weights(shares[start : start + _QUERIES].flatten(1).to(table.dtype), x, y)
            indices = corner_rows(grid, rows)
            bag_weights = torch.stack([part.unflatten(1, (heads, -1)) for part in parts], 2)
            firsts = torch.arange(0, indices.numel(), indices[0, 0].numel(), dtype=torch.int32)
            sums = sum_rows(table, indices.flatten(), firsts, bag_weights.flatten())
            out[start : start + _QUERIES] = sums.view(len(rows), -1)
    return output


class _SampleAndWeigh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor, locations: Tensor, weights: Tensor, shapes: Shapes) -> Tensor:
        ctx.save_for_backward(value, locations, weights)
        ctx.shapes = shapes
        return _gather([make_table(image, shapes) for image in value], shapes, locations, weights, value.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        images = [_backward(*image, ctx.shapes) for image in zip(*ctx.saved_tensors, gradient)]
        stacked = [torch.stack(parts).to(saved.dtype) for parts, saved in zip(zip(*images), ctx.saved_tensors)]
        return *stacked, None


def _backward(
    value: Tensor, locations: Tensor, weights: Tensor, gradient: Tensor, shapes: Shapes
) -> tuple[Tensor, ...]:
    """Gradients of one image's value, locations and weights."""
    if not len(locations):
        return torch.zeros_like(value), torch.zeros_like(locations), torch.zeros_like(weights)
    table = make_table(value, shapes)
    heads, points = locations.shape[1], locations.shape[3]
    grid = grid_of(shapes, heads, points, table.dtype)
    gradient = gradient.to(table.dtype).reshape(-1, value.shape[-1])  # (L·M, D)
    to_locations = torch.empty(*locations.shape[:-1], 2, dtype=table.dtype)
    to_weights = torch.empty(weights.shape, dtype=table.dtype)
    all_rows = torch.empty(len(locations), weights[0].numel(), dtype=torch.int32)
    all_shares = torch.empty(4, *all_rows.shape, dtype=table.dtype)
    for start in range(0, len(locations), _QUERIES):
        part = slice(start, start + _QUERIES)
        places, share = locations[part].to(table.dtype), weights[part].flatten(1).to(table.dtype)
        rows, x, y = cells_of(grid, places)
        torch.stack(bilinear_weights(share, x, y), out=all_shares[:, part])
        all_rows[part] = rows
        indices = corner_rows(grid, rows).flatten(0, 1).flatten(1)
        products = _products(table, indices, gradient[start * heads : (start + len(rows)) * heads])
        corners = [c.reshape(rows.shape) for c in products.view(len(rows), heads, 4, -1).unbind(2)]
        to_weights[part], to_locations[part] = _to_samples(grid, places, share, x, y, corners)
    to_table = _to_table(all_rows, all_shares, gradient, len(table), grid, shapes, points * len(shapes))
    to_value = torch.cat(
        [level[1:-1, 1:].flatten(0, 1) for level in framed_levels(to_table.unflatten(0, (-1, heads)), shapes)]
    )
    return to_value, to_locations, to_weights


def _products(table: Tensor, indices: Tensor, gradient: Tensor) -> Tensor:
    """(bags, rows) products of each row of a bag with the gradient (bags, D) of the bag's sum.

    As a product of two matrices of which some entries are asked for: faster than torch's own gradient of a bag's weights.
    """
    bags, rows = indices.shape
    firsts = torch.arange(0, indices.numel() + 1, rows, dtype=torch.int32)
    zeros, size = table.new_zeros(indices.numel()), (bags, len(table))
    asked = torch.sparse_csr_tensor(firsts, indices.flatten(), zeros, size, check_invariants=False)
    return torch.sparse.sampled_addmm(asked, gradient, table.T, beta=0.0).values().view(indices.shape)


def _to_samples(
    grid: Grid, places: Tensor, share: Tensor, x: Tensor, y: Tensor, corners: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Gradients of weights (c, M, levels, points) and of locations (…, 2) from those of the shares of the four cells."""
    upper_left, upper_right, lower_left, lower_right = corners
    above, below = upper_left.lerp(upper_right, x), lower_left.lerp(lower_right, x)
    to_x = (upper_right - upper_left).lerp(lower_right - lower_left, y) * share * grid.width
    to_y = (below - above) * share * grid.height
    # Samples that were brought in from outside stand still; the first place inside is half a cell before the border.
    pixels = places * torch.stack((grid.width, grid.height), -1).view(places.shape[1:]) - 0.5
    sizes = torch.stack((grid.width, grid.height), -1).view(places.shape[1:])
    inside = (pixels >= -1) & (pixels < sizes)
    to_places = torch.stack((to_x, to_y), -1).view(places.shape) * inside
    return above.lerp(below, y).view(places.shape[:-1]), to_places


def _to_table(
    rows: Tensor, shares: Tensor, gradient: Tensor, size: int, grid: Grid, shapes: Shapes, samples: int
) -> Tensor:
    """(size, D) gradient of the table: sorted by upper left cell, the samples that read a cell are one bag of gradients.

    Args:
        rows: (L, M·samples). shares: (4, L, M·samples). gradient: (L·M, D).
    """
    order = rows.flatten().sort(stable=True).indices
    counts = torch.bincount(rows.flatten(), minlength=size)
    firsts = (counts.cumsum(0) - counts).int()
    bags = (order // samples).int()
    heads = len(grid.corners)
    limits = [first * heads for first in first_cells(shapes)]
    result = torch.zeros(size, gradient.shape[1], dtype=gradient.dtype)
    for right, down, share in zip((0, 1, 0, 1), (0, 0, 1, 1), shares.flatten(1)):
        sums = sum_rows(gradient, bags, firsts, share.index_select(0, order))
        for (_, w), first, last in zip(shapes, limits, limits[1:]):
            step = (right + down * (w + 1)) * heads
            last = min(last, size - step)
            result[first + step : last + step] += sums[first:last]
    return result
