"""CLIP's ResNet towers as open_clip builds them: feature maps, and embeddings of regions (Radford et al. 2021, section 2.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def stem(visual: nn.Module, images: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, C, H/4, W/4): three convolutions and a pooling."""
    x = images
    for index in (1, 2, 3):
        x = F.relu_(_convolve(getattr(visual, f"conv{index}"), getattr(visual, f"bn{index}"), x))
    return visual.avgpool(x)


def run_stage(stage: nn.Module, x: Tensor) -> Tensor:
    """One of ``layer1`` … ``layer4``."""
    for block in stage:
        out = F.relu_(_convolve(block.conv1, block.bn1, x))
        out = block.avgpool(F.relu_(_convolve(block.conv2, block.bn2, out)))
        out = _convolve(block.conv3, block.bn3, out)
        if block.downsample is not None:
            pool, conv, norm = block.downsample
            x = _convolve(conv, norm, pool(x))
        x = F.relu_(out + x if torch.is_grad_enabled() else out.add_(x))
    return x


def _convolve(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Convolution and batch norm. A frozen norm is an affine map and goes into the convolution: no pass over the output."""
    if norm.training:
        return norm(conv(x))
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight, bias = conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    return F.conv2d(x, weight, bias, conv.stride, conv.padding)


def attention_pool(pool: nn.Module, dense: Tensor, inside: Tensor) -> Tensor:
    """CLIP's attention pooling with keys restricted to each mask; the query is the global mean.

    Args:
        pool: open_clip's ``AttentionPool2d``. dense: (B, C, h, w). inside: (B, Q, h, w) bool.

    Returns:
        (B, Q, E).
    """
    side = int((pool.positional_embedding.shape[0] - 1) ** 0.5)
    grid = pool.positional_embedding[1:].T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, size=dense.shape[-2:], mode="bilinear", align_corners=False)
    tokens = dense.permute(0, 2, 3, 1).flatten(1, 2) + grid.permute(0, 2, 3, 1).flatten(1, 2)  # (B, hw, C)
    mean = dense.mean((-1, -2)) + pool.positional_embedding[0]  # (B, C)
    query = pool.q_proj(mean).unflatten(-1, (pool.num_heads, -1))  # (B, heads, C/heads)
    # q·(W k + b) = (q W)·k + q·b: one row a head is projected, not every token; the last term is nothing to a softmax.
    query = torch.einsum("bhd,hdc->bhc", query, pool.k_proj.weight.to(query.dtype).unflatten(0, (pool.num_heads, -1)))
    scores = (query @ tokens.to(query.dtype).transpose(1, 2)).float() * (tokens.shape[-1] // pool.num_heads) ** -0.5
    # One softmax for all masks: weights against the best cell of the whole map, summed inside each. What lies 80 below it,
    # where float32 ends, counts as if it lay 80 below.
    weight = (scores - scores.amax(-1, keepdim=True)).clamp(min=-80).exp().transpose(1, 2)  # (B, hw, heads)
    value = pool.v_proj(tokens).float().unflatten(-1, (pool.num_heads, -1)) * weight[..., None]
    allowed = inside.flatten(2)  # (B, Q, hw)
    # An empty mask attends everywhere, and the caller's valid-mask rule sets it aside.
    allowed = (allowed | ~allowed.any(-1, keepdim=True)).float()
    with torch.autocast(dense.device.type, enabled=False):
        pooled = (allowed @ value.flatten(2)).unflatten(-1, (pool.num_heads, -1)) / (allowed @ weight)[..., None]
    return pool.c_proj(pooled.flatten(2).to(tokens.dtype))
