"""Multi-scale deformable attention sampling (Zhu et al. 2021, equation 3) as it is defined, for any device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def ms_deform_attn(value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Sum bilinear samples of every level, weighted by attention.

    Args:
        value: (B, S, M, D): S = Σ h·w flattened levels, M heads, D channels per head.
        shapes: (h, w) of each level.
        locations: (B, L, M, levels, points, 2) as (x, y) in [0, 1]; samples outside are 0.
        weights: (B, L, M, levels, points), summing to 1 over the last two.

    Returns:
        (B, L, M·D).

    Example:
        >>> value = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)  # one level of 1 x 2 cells, one head, one channel
        >>> between = torch.full((1, 1, 1, 1, 1, 2), 0.5)
        >>> ms_deform_attn(value, [(1, 2)], between, torch.ones(1, 1, 1, 1, 1))
        tensor([[[2.]]])
    """
    batch, queries, heads = locations.shape[:3]
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)  # (B·M, L, levels, points, 2)
    weights = weights.transpose(1, 2).flatten(0, 1)  # (B·M, L, levels, points)
    levels = []
    for level, (part, (h, w)) in enumerate(zip(value.split([h * w for h, w in shapes], dim=1), shapes)):
        image = part.permute(0, 2, 3, 1).reshape(batch * heads, -1, h, w)
        samples = F.grid_sample(image, grids[:, :, level], mode="bilinear", padding_mode="zeros", align_corners=False)
        levels.append(torch.einsum("bdlp,blp->bdl", samples, weights[:, :, level]))
    total = levels[0]
    for level_sum in levels[1:]:
        total = total + level_sum
    return total.reshape(batch, -1, queries).transpose(1, 2)


def softmax_per_head(logits: Tensor, heads: int) -> Tensor:
    """Take the softmax over each head's samples.

    Args:
        logits: (..., M·samples).
        heads: M.

    Returns:
        (..., M, samples).
    """
    return logits.unflatten(-1, (heads, -1)).softmax(-1)
