"""Small parts of the decoders: sine positions, a norm, an MLP, attention with MultiheadAttention's parameters."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...compat import autocast_dtype
from ..fast_forms import fast_form
from ..padding import Padding
from . import group_norm_channels_last


def sine_position(height: int, width: int, channels: int, device: torch.device, temperature: float = 10000.0) -> Tensor:
    """Encode the positions of a grid by sines, normalised to 2π (Carion et al. 2020, section A.4).

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


def sine_tokens(maps: Tensor, padding: Padding | None) -> Tensor:
    """Encode the positions of flattened maps (B, C, h, w), of each image in its own part of them.

    Returns:
        (h·w, C), or (B, h·w, C) with padding.
    """
    channels, height, width = maps.shape[1:]
    if padding is None:
        return sine_position(height, width, channels, maps.device).flatten(1).T
    parts = [sine_position(h, w, channels, maps.device)[None] for h, w in padding.cells(maps.shape)]
    return padding.join(parts).flatten(2).transpose(1, 2)


def full_precision(device: torch.device) -> AbstractContextManager:
    """Switch autocast off for what half precision spoils: sampling positions, sums over all pixels, their gradients.

    Inference in bfloat16, which has float32's range, stays as it is: MODEL.PRECISION asks for it.
    """
    if not torch.is_grad_enabled() and autocast_dtype(device) == torch.bfloat16:
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def unless_autocast(x: Tensor) -> Tensor:
    """Convert ``x`` to float32, unless autocast is on and chooses the precision."""
    return x if autocast_dtype(x.device) else x.float()


class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu and He 2018) that keeps its digits on maps in channels-last order."""

    @fast_form(group_norm_channels_last.group_norm, when=group_norm_channels_last.available)
    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, h, w)."""
        return super().forward(x.contiguous())


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        input_dim: channels in.
        hidden_dim: channels between layers.
        output_dim: channels out.
        num_layers: number of linear layers.
    """

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        widths = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., input_dim) to (..., output_dim)."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


def attend(
    module: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    """Attend with the parameters of ``module`` and one mask for all heads, without storing attention weights.

    Args:
        module: multi-head attention of width C.
        query: (B, Q, C).
        key, value: (B, L, C).
        attn_mask: (B, Q, L) bool, True where a query must not attend; no row may be all True.

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
