"""Mask logits, the products of mask embeddings and mask features, with or without making the mask features.

Mask features are a 1 x 1 convolution of the pixel decoder's features: F = W·f + b in each cell. All that inference asks
of them is linear, so that the convolution can be moved from the H/4·W/4 cells to some hundred queries:

- a mask logit:  e·F = e·(W·f + b) = (e·W)·f + e·b, a product with f plus an offset per query
- a mean over a mask's cells:  mean(F) = W·mean(f) + b
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mask_products(embed: Tensor, features: Tensor) -> Tensor:
    """Multiply embeddings (B, Q, C) with features (B, C, h, w) to (B, Q, h, w).

    One image at a time, because bfloat16 has no fast batched product on a CPU.
    """
    cells = features.permute(0, 2, 3, 1).flatten(1, 2)
    products = [F.linear(one, other).unflatten(1, features.shape[2:]) for one, other in zip(embed, cells)]
    return products[0][None] if len(products) == 1 else torch.stack(products)


def project_embeddings(mask_embed: Tensor, projection: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Move the convolution W·f + b from features to embeddings: e·(W·f + b) = (e·W)·f + e·b.

    Args:
        mask_embed: (B, Q, mask_dim).
        projection: 1 x 1, C to mask_dim channels, with a bias.

    Returns:
        e·W (B, Q, C) and e·b (B, Q, 1, 1), in float32.
    """
    assert projection.bias is not None
    with torch.autocast(mask_embed.device.type, enabled=False):
        mask_embed = mask_embed.float()
        offset = mask_embed @ projection.bias[:, None]
        return mask_embed @ projection.weight.flatten(1), offset[..., None]


def outside_mask(mask_embed: Tensor, features: Tensor, projection: nn.Conv2d | None) -> Tensor:
    """Return (B, Q, h, w) True where the mask probability is below 0.5.

    Args:
        mask_embed: (B, Q, mask_dim).
        features: (B, C, h, w).
        projection: makes them mask features; None: they are.
    """
    if projection is None:
        return mask_products(mask_embed, features) < 0
    embed, offset = project_embeddings(mask_embed, projection)
    logits = mask_products(embed, features)
    return logits < -offset.to(logits)


def logits_and_pooled(mask_embed: Tensor, features: Tensor, projection: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Compute mask logits, and the mean of the mask features where they are positive.

    Args:
        mask_embed: (B, Q, mask_dim).
        features: (B, C, h, w).
        projection: makes them mask features.

    Returns:
        (B, Q, h, w) float32 logits, and (B, Q, mask_dim) float32 means, 0 for an empty mask.
    """
    embed, offset = project_embeddings(mask_embed, projection)
    products = mask_products(embed, features)
    # As numbers 0 and 1 at once, without a map of truth values between.
    inside = torch.gt(products, -offset.to(products), out=torch.empty_like(products))
    area = inside.sum((-1, -2), dtype=torch.float32)[..., None]
    mean = torch.einsum("bqhw,bchw->bqc", inside, features).float() / area.clamp(min=1)
    pooled = F.linear(mean, projection.weight.flatten(1), projection.bias) * (area > 0)
    logits = products.add_(offset) if products.dtype == torch.float32 else products + offset
    return logits, pooled
