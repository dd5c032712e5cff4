"""Mask logits at other resolutions: at full size, whole or in blocks that fit a cache, and at CLIP's stride."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Place = tuple[slice, slice]
"""Rows and columns of a block in the full map; a step of more than 1 where every so many pixels belong to it."""


@dataclass(frozen=True)
class _Phase:
    """Places along one axis that read their cells alike.

    ``taps``: (cells, weights) to be summed. Cells count from the first of two replicated ones around the axis: the first of
    consecutive cells, or (count,) int64 on the host. Weights: one number, or (count,) on the host.
    """

    place: slice
    count: int
    taps: tuple[tuple[int | Tensor, float | Tensor], ...]


@dataclass(frozen=True)
class Upsampler:
    """Mask logits to the padded input, cropped to the image, to the size asked for, bilinearly (``align_corners=False``).

    Args:
        padded: (H, W) of the padded input. image: (H, W) of the image in its top left. output: (H, W) asked for.
    """

    padded: tuple[int, int]
    image: tuple[int, int]
    output: tuple[int, int]

    def __call__(self, masks: Tensor) -> Tensor:
        """(q, h, w) to (q, *output); steps that change nothing are left out."""
        masks = _resize(masks, self.padded)[:, : self.image[0], : self.image[1]]
        return _resize(masks, self.output)

    def blocks(self, masks: Tensor, queries: Tensor, elements: int) -> Iterator[tuple[Place, Tensor]]:
        """The same logits of some masks, in blocks of about ``elements`` numbers, each pixel in one block.

        Resizing is linear and separable, so columns are blended at the masks' own rows first. With a whole factor between
        masks and output, as in FC-CLIP (4), the pixels of one phase k, k + 4, … read neighbouring cells with the same two
        weights: plain sums of shifted maps.

        Args:
            masks: (Q, h, w) logits. queries: (q,) which of them, q > 0.

        Yields:
            Place, and (q, rows, columns) logits that are overwritten with the next block.
        """
        rows, columns = (
            _phases(low, padded, image, output)
            for low, padded, image, output in zip(masks.shape[1:], self.padded, self.image, self.output)
        )
        step = max(1, elements // (len(queries) * max(c.count for c in columns)))
        for start in range(0, max(r.count for r in rows), step):
            first, last = _reach(rows, start, start + step)
            band = _framed(masks, queries, first, last)
            for column in columns:
                blended = _blend(band, 2, column, 0, column.count, 0)
                block = None
                for row in rows:
                    stop = min(start + step, row.count)
                    if start < stop:
                        out = None if block is None or block.shape[1] != stop - start else block
                        block = _blend(blended, 1, row, start, stop, first, out)
                        yield (_part(row.place, start, stop), column.place), block


def downsample_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, Q, h, w) to (B, Q, *size), bilinearly (``align_corners=False``).

    By a whole even factor, a place reads the four cells around its centre; torch would first copy all cells into another
    order.
    """
    factors = [low // high if low % high == 0 else 1 for low, high in zip(masks.shape[-2:], size)]
    if any(f % 2 for f in factors):
        return F.interpolate(masks, size=size, mode="bilinear", align_corners=False)
    f, g = factors
    upper, lower = masks[..., f // 2 - 1 :: f, :], masks[..., f // 2 :: f, :]
    above, below = (row[..., g // 2 - 1 :: g] + row[..., g // 2 :: g] for row in (upper, lower))
    return (above + below) * 0.25


def _resize(masks: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(masks.shape[-2:]) == tuple(size):
        return masks
    return F.interpolate(masks[None], size=size, mode="bilinear", align_corners=False)[0]


def _phases(low: int, padded: int, image: int, output: int) -> list[_Phase]:
    """How the places of one axis of ``output`` pixels read its ``low`` cells."""
    factor, rest = divmod(padded, low)
    if image == output and not rest:
        phases = []
        for k in range(min(factor, image)):
            offset = (k + 0.5) / factor - 0.5
            first, weight = (1, offset) if offset >= 0 else (0, offset + 1)
            taps = ((first, 1 - weight), (first + 1, weight))
            phases.append(_Phase(slice(k, image, factor), len(range(k, image, factor)), taps))
        return phases
    near = (
        [(cell, torch.ones(image)) for cell in (torch.arange(image),)]
        if low == padded
        else _linear(low, padded, padded)
    )
    far = [(torch.arange(image), torch.ones(image))] if image == output else _linear(image, output, output)
    taps = tuple((c[pixel] + 1, v[pixel] * w) for pixel, w in far for c, v in near)
    return [_Phase(slice(0, output), output, taps)]


def _linear(low: int, high: int, count: int) -> list[tuple[Tensor, Tensor]]:
    """Two (count,) cells and weights of linear resizing from ``low`` to ``high`` places, in torch's own float32 steps."""
    source = ((torch.arange(count, dtype=torch.float32) + 0.5) * (low / high) - 0.5).clamp(min=0)
    cell = source.floor().clamp(max=low - 1)
    weight = source - cell
    cell = cell.long()
    return [(cell, 1 - weight), ((cell + 1).clamp(max=low - 1), weight)]


def _framed(masks: Tensor, queries: Tensor, first: int, last: int) -> Tensor:
    """Rows ``first`` … ``last - 1`` of some masks, as if the masks had a frame of replicated cells around them."""
    height = masks.shape[1]
    band = masks[:, max(first - 1, 0) : min(last - 1, height)]
    band = band if len(queries) == len(masks) else band.index_select(0, queries)
    return F.pad(band[None], (1, 1, int(first == 0), int(last == height + 2)), mode="replicate")[0]


def _reach(phases: list[_Phase], start: int, stop: int) -> tuple[int, int]:
    """First and one past the last cell that places start … stop - 1 of any phase read."""
    firsts, lasts = [], []
    for phase in phases:
        end = min(stop, phase.count)
        for cells, _ in phase.taps if start < end else ():
            whole = isinstance(cells, int)
            firsts.append(cells + start if whole else int(cells[start:end].min()))
            lasts.append(cells + end - 1 if whole else int(cells[start:end].max()))
    return min(firsts), max(lasts) + 1


def _part(place: slice, start: int, stop: int) -> slice:
    step = place.step or 1
    return slice(place.start + start * step, min(place.start + stop * step, place.stop), step)


def _blend(
    maps: Tensor, dim: int, phase: _Phase, start: int, stop: int, origin: int, out: Tensor | None = None
) -> Tensor:
    """Weighted sum of the cells that places start … stop - 1 read; ``maps`` begin at cell ``origin``."""
    if all(isinstance(cells, int) for cells, _ in phase.taps):  # two neighbours with weights that sum to 1
        (first, _), (second, weight) = phase.taps
        near, far = (maps.narrow(dim, cells + start - origin, stop - start) for cells in (first, second))
        return torch.lerp(near, far, weight, out=out)
    for index, (cells, weight) in enumerate(phase.taps):
        part = maps.index_select(dim, (cells[start:stop] - origin).to(maps.device))
        weight = weight[start:stop].to(maps).view([stop - start if d == dim else 1 for d in range(3)])
        out = torch.mul(part, weight, out=out) if index == 0 else out.addcmul_(part, weight)
    return out
