"""Position embeddings at other grids than the one they were trained for."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_positions(positions: Tensor, native: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Resize position embeddings bicubically, as CLIPSeg does; those of leading tokens stay as they are.

    Args:
        positions: (L + h0·w0, C), row by row after L leading tokens.
        native: (h0, w0).
        grid: (h, w).

    Returns:
        (L + h·w, C).
    """
    if tuple(native) == tuple(grid):
        return positions
    cells = native[0] * native[1]
    leading, own = positions[:-cells], positions[-cells:]
    image = own.T.unflatten(1, native)[None].float()
    resized = F.interpolate(image, size=grid, mode="bicubic", align_corners=False)
    return torch.cat((leading, resized[0].flatten(1).T.to(positions.dtype)))


def pool_positions(pool: Any, dense: Tensor) -> Tensor:
    """Resize the position embeddings of an ``AttentionPool2d`` bilinearly, as FC-CLIP does, without that of the mean.

    Args:
        pool: open_clip's module.
        dense: (B, C, h, w).

    Returns:
        (1, C, h, w).
    """
    side = int((pool.positional_embedding.shape[0] - 1) ** 0.5)
    grid = pool.positional_embedding[1:].T.reshape(1, -1, side, side)
    return F.interpolate(grid, size=dense.shape[-2:], mode="bilinear", align_corners=False)
