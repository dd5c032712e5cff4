"""What :class:`Upsampler` computes, in blocks that fit a CPU's cache.

Resizing is linear and separable: columns are blended first, at the masks' own rows, then rows. Along one axis each
output pixel reads two cells. With a whole factor f between masks and output, as in FC-CLIP (4), the pixels k, k + f, k
+ 2f, … read neighbouring cells with the same two weights. They are one *phase*, and all of them together are a blend of
two shifted maps. For f = 2 and cells a b c, framed by copies of themselves as a|a b c|c::

    phase 0:  a/4 + 3a/4   a/4 + 3b/4   b/4 + 3c/4        pixels 0, 2, 4
    phase 1:  3a/4 + b/4   3b/4 + c/4   3c/4 + c/4        pixels 1, 3, 5

With any other factor, all pixels are one phase with indices and weights of their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .upsampling import Upsampler

Place = tuple[slice, slice]
"""Rows and columns of a block in the full map; with a step where every so many pixels belong to it."""


def upsampled_blocks(
    upsample: Upsampler, masks: Tensor, queries: Tensor, elements: int
) -> Iterator[tuple[Place, Tensor]]:
    """Upsample some masks in blocks of about ``elements`` numbers; each pixel is in one block.

    Args:
        upsample: the sizes.
        masks: (Q, h, w) logits.
        queries: (q,) which masks, q > 0.
        elements: numbers per block.

    Yields:
        Place, and (q, rows, columns) logits, which the next block overwrites.
    """
    rows, columns = (
        _phases(low, padded, image, output)
        for low, padded, image, output in zip(masks.shape[1:], upsample.padded, upsample.image, upsample.output)
    )
    step = max(1, elements // (len(queries) * max(c.count for c in columns)))
    for start in range(0, max(r.count for r in rows), step):
        parts = [(row, start, min(start + step, row.count)) for row in rows if start < row.count]
        reached = [row.reach(first, last) for row, first, last in parts]
        first, last = min(r[0] for r in reached), max(r[1] for r in reached)
        band = _framed(masks, queries, first, last)
        for column in columns:
            blended = column.blend(band, 2, 0, column.count, 0)
            block: Tensor | None = None
            for row, begin, end in parts:
                out = block if block is not None and block.shape[1] == end - begin else None
                block = row.blend(blended, 1, begin, end, first, out)
                yield (_part(row.place, begin, end), column.place), block


@dataclass(frozen=True)
class _Phase(ABC):
    """Output pixels along one axis that read their cells alike.

    Cells are counted with one replicated cell before the first: cell 0 of the masks is 1.

    Attributes:
        place: the pixels.
        count: how many.
    """

    place: slice
    count: int

    @abstractmethod
    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """Return the first and one past the last cell that the phase's pixels start … stop - 1 read."""

    @abstractmethod
    def blend(self, maps: Tensor, dim: int, start: int, stop: int, origin: int, out: Tensor | None = None) -> Tensor:
        """Blend the cells that pixels start … stop - 1 read; ``maps`` begin with cell ``origin``."""


@dataclass(frozen=True)
class _ShiftedPhase(_Phase):
    """Pixel i blends the cells first + i and first + i + 1, the second with ``weight``."""

    first: int
    weight: float

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        return self.first + start, self.first + stop + 1

    def blend(self, maps: Tensor, dim: int, start: int, stop: int, origin: int, out: Tensor | None = None) -> Tensor:
        begin = self.first + start - origin
        near, far = (maps.narrow(dim, begin + shift, stop - start) for shift in (0, 1))
        return torch.lerp(near, far, self.weight, out=out)


@dataclass(frozen=True)
class _IndexedPhase(_Phase):
    """Pixel i sums cells[i] · weights[i] over the taps, (count,) int64 cells and (count,) weights on the host."""

    taps: tuple[tuple[Tensor, Tensor], ...]

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        cells = torch.stack([cells[start:stop] for cells, _ in self.taps])
        return int(cells.min()), int(cells.max()) + 1

    def blend(self, maps: Tensor, dim: int, start: int, stop: int, origin: int, out: Tensor | None = None) -> Tensor:
        total: Tensor | None = None
        shape = [stop - start if d == dim else 1 for d in range(3)]
        for cells, weights in self.taps:
            part = maps.index_select(dim, (cells[start:stop] - origin).to(maps.device))
            weight = weights[start:stop].to(maps).view(shape)
            total = torch.mul(part, weight, out=out) if total is None else total.addcmul_(part, weight)
        assert total is not None
        return total


def _phases(low: int, padded: int, image: int, output: int) -> Sequence[_Phase]:
    """Return the phases of one axis, on which ``output`` pixels read ``low`` cells."""
    factor, rest = divmod(padded, low)
    if image == output and not rest:
        phases = []
        for k in range(min(factor, image)):
            offset = (k + 0.5) / factor - 0.5  # of the pixel's centre from that of its cell, in cells
            first, weight = (1, offset) if offset >= 0 else (0, offset + 1)
            phases.append(_ShiftedPhase(slice(k, image, factor), len(range(k, image, factor)), first, weight))
        return phases
    # Two resizings after each other: a pixel reads two places of the padded input, each of which reads two cells.
    to_padded = _linear_taps(low, padded)
    to_output = _linear_taps(image, output)
    taps = tuple((cells[at] + 1, w[at] * v) for at, v in to_output for cells, w in to_padded)
    return [_IndexedPhase(slice(0, output), output, taps)]


def _linear_taps(low: int, high: int) -> list[tuple[Tensor, Tensor]]:
    """Return (high,) cells and weights of linear resizing from ``low`` to ``high``, in torch's own float32 steps."""
    if low == high:
        return [(torch.arange(high), torch.ones(high))]
    source = ((torch.arange(high, dtype=torch.float32) + 0.5) * (low / high) - 0.5).clamp(min=0)
    cell = source.floor().clamp(max=low - 1)
    weight = source - cell
    cells = cell.long()
    return [(cells, 1 - weight), ((cells + 1).clamp(max=low - 1), weight)]


def _framed(masks: Tensor, queries: Tensor, first: int, last: int) -> Tensor:
    """Return rows ``first`` … ``last - 1`` of some masks, counted with a frame of replicated cells around them."""
    height = masks.shape[1]
    band = masks[:, max(first - 1, 0) : min(last - 1, height)]
    band = band if len(queries) == len(masks) else band.index_select(0, queries)
    return F.pad(band[None], (1, 1, int(first == 0), int(last == height + 2)), mode="replicate")[0]


def _part(place: slice, start: int, stop: int) -> slice:
    """Return the pixels start … stop - 1 of a phase."""
    step = place.step or 1
    return slice(place.start + start * step, min(place.start + stop * step, place.stop), step)
