"""The interface of captioners: cells of an image, and texts about some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Captioner(Protocol):
    """A frozen image encoder and the text decoder that reads its cells.

    What a method returns depends on its arguments alone: not on earlier calls, on global random state, or on threads.

    Attributes:
        patch: side of a cell in pixels, as the encoder sees the image.
    """

    patch: int

    def encode(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Compute one embedding per cell.

        Args:
            image: (3, H, W) uint8 RGB of any size.
            size: (H, W) that the image is resized to before it is encoded, in pixels; multiples of ``patch``.

        Returns:
            (h, w, C) float32 with h = H / patch and w = W / patch of ``size``: only cells, no class token.
        """
        ...

    def caption(self, cells: Tensor, seeds: Sequence[int]) -> list[str]:
        """Describe what some cells of an image show.

        Args:
            cells: (n, C) of :meth:`encode`, at least one; their order has no meaning.
            seeds: one per text; the same cells and seeds give the same texts.

        Returns:
            One text per seed. It may be empty.
        """
        ...
