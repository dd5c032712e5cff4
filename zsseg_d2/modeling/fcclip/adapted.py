"""A frozen pixel decoder with trained adapters, for queries that are added to a frozen model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..padding import Padding
from .interfaces import PixelDecoder


class Adapter(nn.Module):
    """Add a small net of each cell to a feature map: x + W₂ · relu(W₁ · x), which starts as x.

    Without biases, so that what is 0 (padding) stays 0.

    Args:
        channels: C of the map.
        width: Hidden channels.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, width, 1, bias=False)
        self.up = nn.Conv2d(width, channels, 1, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Adapt a map (B, C, h, w)."""
        return x + self.up(self.down(x).relu())


class AdaptedPixelDecoder(PixelDecoder):
    """Features of a frozen pixel decoder, which belongs to another model, with an adapter for each map.

    Args:
        frozen: Is not a part of this module: its weights are neither saved nor trained with it.
        mask_dim: Channels of the mask features.
        dim: Channels of the maps at strides 32, 16 and 8.
        width: Hidden channels of the adapters; 0: no adapters.
    """

    def __init__(self, frozen: PixelDecoder, *, mask_dim: int, dim: int, width: int) -> None:
        super().__init__()
        self._frozen = (frozen,)  # a tuple hides it from nn.Module
        self.mask_adapter: nn.Module = Adapter(mask_dim, width) if width else nn.Identity()
        self.scale_adapters = nn.ModuleList(Adapter(dim, width) if width else nn.Identity() for _ in range(3))

    @property
    def masks_padding(self) -> bool:  # type: ignore[override]
        """Whether the frozen decoder masks padding; adapters keep 0 at 0."""
        return self._frozen[0].masks_padding

    def adapt(self, mask_features: Tensor, scales: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Adapt what the frozen decoder made: mask features, and maps at strides 32, 16, 8."""
        return self.mask_adapter(mask_features), [a(s) for a, s in zip(self.scale_adapters, scales)]

    def forward(self, features: Mapping[str, Tensor], padding: Padding | None = None) -> tuple[Tensor, list[Tensor]]:
        """Decode feature maps; see :meth:`PixelDecoder.forward`."""
        with torch.no_grad():
            frozen = self._frozen[0]
            mask_features, scales = frozen(features) if padding is None else frozen(features, padding)
        return self.adapt(mask_features, scales)
