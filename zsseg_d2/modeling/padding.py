"""Images of several sizes in one batch: each in the top left corner of a canvas, and what lies outside it is masked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Padding:
    """Which part of a padded batch is image.

    Maps of a batch have a stride that divides all sizes, so that a cell is image or padding, never both.

    Attributes:
        sizes: (H, W) of each image in pixels.
        canvas: (H, W) of the batch in pixels.
    """

    sizes: tuple[tuple[int, int], ...]
    canvas: tuple[int, int]

    @classmethod
    def of(cls, sizes: Sequence[tuple[int, int]]) -> Padding | None:
        """Return the padding to the largest height and width; None if all sizes are equal, so that none is needed."""
        if len(set(sizes)) == 1:
            return None
        return cls(tuple(sizes), (max(h for h, _ in sizes), max(w for _, w in sizes)))

    @staticmethod
    def in_one_pass(device: torch.device) -> bool:
        """Return whether images of several sizes are computed in one pass, with their padding masked.

        A CPU gains nothing from a larger batch, but pays for each padded cell: there, images of one size share a pass.
        """
        return device.type != "cpu"

    def same_size(self) -> list[list[int]]:
        """Return the positions of the images of each size."""
        return [[k for k, own in enumerate(self.sizes) if own == size] for size in dict.fromkeys(self.sizes)]

    def part(self, maps: Tensor, images: Sequence[int]) -> Tensor:
        """Return the images (n, C, h, w) of one size that a map (B, C, H', W') holds at these positions."""
        height, width = self.cells(maps.shape)[images[0]]
        return maps[list(images), :, :height, :width]

    def join_groups(self, groups: Sequence[Sequence[int]], parts: Sequence[Tensor]) -> Tensor:
        """Join what was computed for groups of one size (n, C, h, w) to a map (B, C, H', W') with 0 outside them."""
        found = {k: one for images, part in zip(groups, parts) for k, one in zip(images, part.split(1))}
        return self.join([found[k] for k in range(len(self.sizes))])

    def cells(self, shape: Sequence[int]) -> list[tuple[int, int]]:
        """Return (h, w) of each image in a map whose last two sides are those of `shape`."""
        vertical, horizontal = self.canvas[0] // shape[-2], self.canvas[1] // shape[-1]
        return [(height // vertical, width // horizontal) for height, width in self.sizes]

    def crops(self, maps: Tensor) -> Iterator[Tensor]:
        """Yield each image's part (1, C, h, w) of a map (B, C, H', W')."""
        for one, (height, width) in zip(maps.split(1), self.cells(maps.shape)):
            yield one[..., :height, :width]

    def clear_(self, maps: Tensor) -> Tensor:
        """Set a map (B, C, H', W') to 0 outside the images, in place."""
        for one, (height, width) in zip(maps, self.cells(maps.shape)):
            one[:, height:] = 0
            one[:, :height, width:] = 0
        return maps

    def outside(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """Return (B, H'·W') True outside the images of a map whose last two sides are those of `shape`."""
        found = torch.ones(len(self.sizes), *shape[-2:], dtype=torch.bool, device=device)
        for one, (height, width) in zip(found, self.cells(shape)):
            one[:height, :width] = False
        return found.flatten(1)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Join the parts (1, C, h, w) of all images to a map (B, C, H', W') with 0 outside them."""
        stride = self.sizes[0][0] // parts[0].shape[-2]
        height, width = self.canvas[0] // stride, self.canvas[1] // stride
        return torch.cat([F.pad(p, (0, width - p.shape[-1], 0, height - p.shape[-2])) for p in parts])


def on_images(padding: Padding | None, function: Callable[..., Tensor], *maps: Tensor) -> Tensor:
    """Apply a function of maps to each image's own part, where the function would mix image and padding.

    Args:
        padding: None: the maps have no padding, and the function is called once.
        function: (B, C, h, w) maps to a map (B, C, h', w').
        maps: (B, C, H', W') each.

    Returns:
        (B, C, H', W') with 0 outside the images.
    """
    if padding is None:
        return function(*maps)
    return padding.join([function(*parts) for parts in zip(*(padding.crops(m) for m in maps))])
