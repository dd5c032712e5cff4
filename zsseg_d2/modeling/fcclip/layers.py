"""Small pieces shared by the decoders: sine positions, a norm, an MLP, attention on the parameters of MultiheadAttention."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...compat import autocast_dtype


def sine_position(height: int, width: int, channels: int, device: torch.device, temperature: float = 10000.0) -> Tensor:
    """Sine position encoding of a grid, normalised to 2π (Carion et al. 2020, section A.4).

    Returns:
        (channels, height, width) float32: the first half encodes y, the second x.
    """
    half = channels // 2
    frequency = temperature ** (2 * (torch.arange(half, device=device) // 2).float() / half)

    def encode(length: int) -> Tensor:
        steps = torch.arange(1, length + 1, device=device, dtype=torch.float32)
        angle = (steps / (length + 1e-6) * 2 * math.pi)[:, None] / frequency
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1).T  # (half, length)

    y = encode(height)[:, :, None].expand(-1, -1, width)
    x = encode(width)[:, None, :].expand(-1, height, -1)
    return torch.cat((y, x))


def full_precision(device: torch.device) -> AbstractContextManager:
    """float32 for what half precision spoils: sampling positions, sums over all pixels, gradients of both.

    Where no gradient is recorded and autocast is bfloat16, which has float32's range, it stays: MODEL.PRECISION asks for it.
    """
    if not torch.is_grad_enabled() and autocast_dtype(device) == torch.bfloat16:
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def unless_autocast(x: Tensor) -> Tensor:
    """``x`` in float32, or as it is where autocast chooses."""
    return x if autocast_dtype(x.device) else x.float()


class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu and He 2018) that keeps its digits on maps in channels-last order.

    torch takes their variance as E[x²] - E[x]², which at 256 x 512 cells is off by 1e-4 where the mean is three deviations.
    """

    _CELLS = 4096  # at a time: they stay in the cache

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        if torch.is_grad_enabled() or x.is_cuda or x.is_contiguous():
            return super().forward(x.contiguous())

        def each_channel(groups: Tensor) -> Tensor:  # (B, groups) to (B, 1, C)
            return groups.repeat_interleave(self.num_channels // self.num_groups, 1)[:, None]

        parts = x.permute(0, 2, 3, 1).flatten(1, 2).split(self._CELLS, 1)  # (B, cells, C)
        count = x.shape[2] * x.shape[3]

        def mean_of(sums: Tensor) -> Tensor:  # (B, C) to (B, 1, C)
            return each_channel((sums / count).unflatten(1, (self.num_groups, -1)).mean(-1))

        mean = mean_of(sum(part.sum(1, dtype=torch.float32) for part in parts))
        variance = mean_of(sum((part - mean).square_().sum(1) for part in parts))
        scale = (variance + self.eps).rsqrt() * self.weight
        shift = self.bias - mean * scale
        scale, shift = (z.to(x.dtype).transpose(1, 2)[..., None] for z in (scale, shift))
        return torch.addcmul(shift, x, scale)


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        widths = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


def attend(
    module: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    """Multi-head attention with the parameters of ``module`` and one mask for all heads, without its weights in memory.

    Args:
        query: (B, Q, C). key, value: (B, L, C).
        attn_mask: (B, Q, L) bool, True where attention is forbidden; no row may be all True.

    Returns:
        (B, Q, C).
    """
    width, heads = module.embed_dim, module.num_heads
    weights, biases = module.in_proj_weight.split(width), module.in_proj_bias.split(width)
    q, k, v = (
        F.linear(x, w, b).unflatten(-1, (heads, -1)).transpose(1, 2)
        for x, w, b in zip((query, key, value), weights, biases)
    )
    mask = None if attn_mask is None else ~attn_mask[:, None]
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return module.out_proj(mixed.transpose(1, 2).flatten(2))
