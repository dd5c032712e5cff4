"""Group normalisation of maps in channels-last order, where torch's own form is slow and loses digits.

torch computes the variance as E[x²] - E[x]², which at 256 x 512 cells is off by 1e-4 where the mean is three
deviations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CELLS = 4096  # at a time: they stay in the cache


def available(norm: nn.GroupNorm, x: Tensor) -> bool:
    """Return whether :func:`group_norm` applies: inference on a CPU, with channels last."""
    return not (torch.is_grad_enabled() or x.is_cuda or x.is_contiguous())


def group_norm(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """Normalise (B, C, h, w) as ``norm`` does."""

    def each_channel(groups: Tensor) -> Tensor:  # (B, groups) to (B, 1, C)
        return groups.repeat_interleave(norm.num_channels // norm.num_groups, 1)[:, None]

    blocks = x.permute(0, 2, 3, 1).flatten(1, 2).split(_CELLS, 1)  # (B, cells, C)
    count = x.shape[2] * x.shape[3]

    def mean_of(sums: Tensor) -> Tensor:  # (B, C) to (B, 1, C)
        return each_channel((sums / count).unflatten(1, (norm.num_groups, -1)).mean(-1))

    zeros = x.new_zeros((), dtype=torch.float32)
    mean = mean_of(sum((block.sum(1, dtype=torch.float32) for block in blocks), zeros))
    variance = mean_of(sum(((block - mean).square_().sum(1) for block in blocks), zeros))
    scale = (variance + norm.eps).rsqrt() * norm.weight
    shift = norm.bias - mean * scale
    scale, shift = (z.to(x.dtype).transpose(1, 2)[..., None] for z in (scale, shift))
    return torch.addcmul(shift, x, scale)
