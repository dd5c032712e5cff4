"""What a network of composites takes and returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class Maps(NamedTuple):
    """Logits (B, h, w) of the mask, and of the depth as a share of its range; None: the net has no depth."""

    mask: Tensor
    depth: Tensor | None


class Window(NamedTuple):
    """The part of an image that a network's output covers, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, images: Tensor) -> Tensor:
        """Cut the window out of (..., H, W)."""
        return images[..., self.top : self.top + self.height, self.left : self.left + self.width]


class CompositeNet(nn.Module, ABC):
    """A network that finds the mask, and possibly the depth, of composites of one size.

    One from outside the package registers itself in
    :data:`zsseg_d2.modeling.registries.COMPOSITE_NET_REGISTRY`, and is built as ``cls(channels, depth)``.

    Args:
        channels: of the input.
        depth: whether there is a depth output.
    """

    @abstractmethod
    def forward(self, images: Tensor) -> Maps:
        """Compute the logits of (B, C, H, W) normalized images."""

    def window(self, height: int, width: int) -> Window:
        """Return the part of an (height, width) image that the output covers.

        Raises:
            ValueError: no output fits an image of this size; the message names sizes that do.
        """
        return Window(0, 0, height, width)

    def whole(self, images: Tensor) -> Maps:
        """Compute logits (B, H, W) of every pixel of (B, C, H, W) normalized images of any size."""
        return self(images)
