"""Faster forms of :mod:`.resnet` for a frozen tower: norms inside convolutions, one softmax for all masks."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..padding import Padding
from .positions import pool_positions
from .towers import STAGES


def dense_features(visual: Any, images: Tensor, padding: Padding | None = None) -> dict[str, Tensor]:
    """Compute the output of each stage of a tower in eval mode.

    Args:
        visual: open_clip's ``ModifiedResNet``.
        images: (B, 3, H, W) normalised, 0 outside the images.
        padding: which part of them is image; None: all. What a 3 x 3 convolution reads outside it is 0, as beyond the
            border of an image that is alone.
    """
    x = images
    for conv, norm in ((visual.conv1, visual.bn1), (visual.conv2, visual.bn2), (visual.conv3, visual.bn3)):
        x = F.relu_(_convolve(conv, norm, x if padding is None else padding.clear_(x)))
    x = visual.avgpool(x)
    features = {}
    for name, layer in zip(STAGES, (visual.layer1, visual.layer2, visual.layer3, visual.layer4)):
        for block in layer:
            x = _run_block(block, x, padding)
        features[name] = x
    return features


def _run_block(block: Any, x: Tensor, padding: Padding | None) -> Tensor:
    """Run a bottleneck: 1 x 1, 3 x 3 and 1 x 1 convolutions around a shortcut."""
    out = F.relu_(_convolve(block.conv1, block.bn1, x))
    if padding is not None:
        padding.clear_(out)
    out = block.avgpool(F.relu_(_convolve(block.conv2, block.bn2, out)))
    out = _convolve(block.conv3, block.bn3, out)
    if block.downsample is not None:
        pool, conv, norm = block.downsample
        x = _convolve(conv, norm, pool(x))
    return F.relu_(out + x if torch.is_grad_enabled() else out.add_(x))


def _convolve(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Convolve and normalise. A frozen norm is an affine map and goes into the convolution: no pass over the output."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight, bias = conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    return F.conv2d(x, weight, bias, conv.stride, conv.padding)


def attention_pool(pool: Any, dense: Tensor, inside: Tensor) -> Tensor:
    """Do CLIP's attention pooling inside each mask; see :func:`zsseg_d2.modeling.clip.resnet.attention_pool`."""
    grid = pool_positions(pool, dense)
    tokens = dense.permute(0, 2, 3, 1).flatten(1, 2) + grid.permute(0, 2, 3, 1).flatten(1, 2)  # (B, hw, C)
    mean = dense.mean((-1, -2)) + pool.positional_embedding[0]  # (B, C)
    query = pool.q_proj(mean).unflatten(-1, (pool.num_heads, -1))  # (B, heads, C/heads)
    # q·(W k + b) = (q W)·k + q·b: one row per head is projected, not every token. A softmax ignores the last term.
    query = torch.einsum("bhd,hdc->bhc", query, pool.k_proj.weight.to(query.dtype).unflatten(0, (pool.num_heads, -1)))
    scores = (query @ tokens.to(query.dtype).transpose(1, 2)).float() * (tokens.shape[-1] // pool.num_heads) ** -0.5
    # One softmax for all masks: weights relative to the best cell of the whole map, summed inside each mask. Scores
    # more than 80 below it, where float32 ends, count as 80 below.
    weight = (scores - scores.amax(-1, keepdim=True)).clamp(min=-80).exp().transpose(1, 2)  # (B, hw, heads)
    value = pool.v_proj(tokens).float().unflatten(-1, (pool.num_heads, -1)) * weight[..., None]
    allowed = inside.flatten(2)  # (B, Q, hw)
    allowed = (allowed | ~allowed.any(-1, keepdim=True)).float()
    with torch.autocast(dense.device.type, enabled=False):
        pooled = (allowed @ value.flatten(2)).unflatten(-1, (pool.num_heads, -1)) / (allowed @ weight)[..., None]
    return pool.c_proj(pooled.flatten(2).to(tokens.dtype))
