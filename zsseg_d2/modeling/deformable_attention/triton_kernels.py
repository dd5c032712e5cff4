"""Triton kernels of :mod:`.triton_op`, which imports this file only where it launches them.

A row is one head of one query of one image, in the memory order of ``locations`` (B, L, M, levels, points, 2). A
program takes ROWS rows and all CHANNELS of their head in LANES ≥ CHANNELS lanes, and computes in float32 whatever the
tensors' precision. Offsets into tensors are 64-bit; the index of a cell in its image is 32-bit.
"""

import triton
import triton.language as tl


@triton.jit
def _neighbours(location, size):
    """Return the pixel before each location along one axis of ``size`` pixels, and the share of the pixel after it.

    The steps are those of grid_sample in the same order, for equal rounding: at pixel centres, where an untrained model
    samples, the slope jumps. Locations that touch no pixel, infinite ones and NaN get two neighbours outside, as there.
    """
    place = ((2.0 * location - 1.0 + 1.0) * size - 1.0) * 0.5
    place = tl.where((place >= -1.0) & (place < size), place, -2.0)
    before = tl.math.floor(place)
    return before.to(tl.int32), place - before


@triton.jit
def _point(locations, sample, real, width, height):
    """Return ``_neighbours`` of both axes: left, its right neighbour's share, top, its lower neighbour's share."""
    # Rows past the last one sample far outside, so they load, add and store nothing.
    x = tl.load(locations + 2 * sample, mask=real, other=-1.0).to(tl.float32)
    y = tl.load(locations + 2 * sample + 1, mask=real, other=-1.0).to(tl.float32)
    left, rightness = _neighbours(x, width)
    top, lowness = _neighbours(y, height)
    return left, rightness, top, lowness


@triton.jit
def _corner(left, rightness, top, lowness, width, height, RIGHT: tl.constexpr, LOW: tl.constexpr):
    """Return one of the four pixels around a location: index in the level, existence, shares across and down."""
    column = left + RIGHT
    line = top + LOW
    inside = (column >= 0) & (column < width) & (line >= 0) & (line < height)
    across = rightness if RIGHT else 1.0 - rightness
    down = lowness if LOW else 1.0 - lowness
    return line * width + column, inside, across, down


@triton.jit
def deformable_forward(
    value,  # (B, S, M, D)
    table,  # (levels, 3) int32: height, width, first cell
    locations,  # (B, L, M, levels, points, 2)
    weights,  # (B, L, M, levels, points)
    output,  # (B, L, M, D)
    rows,  # B·L·M
    rows_per_image,  # L·M
    cells,  # S
    HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    lane = tl.arange(0, LANES)[None, :]
    real = row < rows
    origin = (row // rows_per_image * cells * HEADS + row % HEADS) * CHANNELS
    total = tl.zeros((ROWS, LANES), dtype=tl.float32)
    for level in tl.static_range(LEVELS):
        height = tl.load(table + 3 * level)
        width = tl.load(table + 3 * level + 1)
        first = tl.load(table + 3 * level + 2)
        for point in range(POINTS):
            sample = (row * LEVELS + level) * POINTS + point
            weight = tl.load(weights + sample, mask=real, other=0.0).to(tl.float32)
            left, rightness, top, lowness = _point(locations, sample, real, width, height)
            for corner in tl.static_range(4):
                cell, inside, across, down = _corner(
                    left, rightness, top, lowness, width, height, corner % 2, corner // 2
                )
                place = (origin + (first + cell).to(tl.int64) * (HEADS * CHANNELS))[:, None] + lane
                seen = tl.load(value + place, mask=inside[:, None] & (lane < CHANNELS), other=0.0).to(tl.float32)
                total += (weight * across * down)[:, None] * seen
    tl.store(output + row[:, None] * CHANNELS + lane, total, mask=real[:, None] & (lane < CHANNELS))


@triton.jit
def deformable_backward(
    value,
    table,
    locations,
    weights,
    output_gradient,  # as output
    value_gradient,  # as value, float32 and zero at the start
    location_gradient,  # as locations
    weight_gradient,  # as weights
    rows,
    rows_per_image,
    cells,
    HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    lane = tl.arange(0, LANES)[None, :]
    real = row < rows
    origin = (row // rows_per_image * cells * HEADS + row % HEADS) * CHANNELS
    incoming = row[:, None] * CHANNELS + lane
    gradient = tl.load(output_gradient + incoming, mask=real[:, None] & (lane < CHANNELS), other=0.0).to(tl.float32)
    for level in tl.static_range(LEVELS):
        height = tl.load(table + 3 * level)
        width = tl.load(table + 3 * level + 1)
        first = tl.load(table + 3 * level + 2)
        for point in range(POINTS):
            sample = (row * LEVELS + level) * POINTS + point
            weight = tl.load(weights + sample, mask=real, other=0.0).to(tl.float32)
            left, rightness, top, lowness = _point(locations, sample, real, width, height)
            along = tl.zeros((ROWS,), dtype=tl.float32)
            slope_x = tl.zeros((ROWS,), dtype=tl.float32)
            slope_y = tl.zeros((ROWS,), dtype=tl.float32)
            for corner in tl.static_range(4):
                cell, inside, across, down = _corner(
                    left, rightness, top, lowness, width, height, corner % 2, corner // 2
                )
                place = (origin + (first + cell).to(tl.int64) * (HEADS * CHANNELS))[:, None] + lane
                there = inside[:, None] & (lane < CHANNELS)
                seen = tl.load(value + place, mask=there, other=0.0).to(tl.float32)
                product = tl.sum(seen * gradient, axis=1)
                along += across * down * product
                slope_x += (corner % 2 * 2 - 1) * down * product
                slope_y += (corner // 2 * 2 - 1) * across * product
                # Nothing is read back here, so the additions need no order.
                tl.atomic_add(
                    value_gradient + place, (weight * across * down)[:, None] * gradient, mask=there, sem="relaxed"
                )
            tl.store(weight_gradient + sample, along, mask=real)
            tl.store(location_gradient + 2 * sample, weight * slope_x * width, mask=real)
            tl.store(location_gradient + 2 * sample + 1, weight * slope_y * height, mask=real)
