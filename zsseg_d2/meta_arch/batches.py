"""Batches of normalized, padded images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from ..modeling.padding import Padding


class PaddedBatch(NamedTuple):
    """Images of one padded size: their positions in the input, and (B, 3, H, W) normalized pixels."""

    positions: list[int]
    images: Tensor


class TrainingBatch(NamedTuple):
    """Images of a training batch: (B, 3, H, W) normalized pixels, and which part is image; None: all."""

    images: Tensor
    padding: Padding | None


def padded_batches(items: Sequence[Mapping], step: int, mean: Tensor, std: Tensor) -> list[PaddedBatch]:
    """Normalize and pad the images, one batch per padded size; padding is the mean color.

    Args:
        items: Of the input.
        step: Sides are padded to multiples of this.
        mean: (3, 1, 1), on the device of the result.
        std: (3, 1, 1).
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for position, size in enumerate(padded_sizes(items, step)):
        groups.setdefault(size, []).append(position)
    return [
        PaddedBatch(positions, _on_canvas([items[p] for p in positions], size, mean, std))
        for size, positions in groups.items()
    ]


def training_batch(items: Sequence[Mapping], step: int, mean: Tensor, std: Tensor) -> TrainingBatch:
    """Normalize the images and pad them to one size; for the arguments see :func:`padded_batches`.

    The padding of the result says what lies beyond the own padded size of each image.
    """
    sizes = padded_sizes(items, step)
    padding = Padding.of(sizes)
    canvas = sizes[0] if padding is None else padding.canvas
    return TrainingBatch(_on_canvas(items, canvas, mean, std), padding)


def padded_sizes(items: Sequence[Mapping], step: int) -> list[tuple[int, int]]:
    """Return height and width of each image, padded to multiples of ``step``."""
    shapes = [item["image"].shape[-2:] for item in items]
    return [(-h % step + h, -w % step + w) for h, w in shapes]


def _on_canvas(items: Sequence[Mapping], size: tuple[int, int], mean: Tensor, std: Tensor) -> Tensor:
    batch = mean.new_zeros(len(items), 3, *size)
    for slot, item in zip(batch, items):
        image = item["image"].to(mean.device)
        slot[:, : image.shape[1], : image.shape[2]] = (image - mean) / std
    return batch
