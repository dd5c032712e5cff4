"""Mask pooling in training: mask features averaged inside each query's own mask (Yu et al. 2023, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..fast_forms import fast_form
from .mask_pooling_blocks import mask_pool as mask_pool_in_blocks


@fast_form(mask_pool_in_blocks)
def mask_pool(mask_features: Tensor, mask_embed: Tensor) -> Tensor:
    """Average the mask features over the cells where a query's mask logit is positive; 0 for an empty mask.

    As published, embeddings get no gradient, because a mask is a threshold.

    Args:
        mask_features: (B, C, h, w) float32.
        mask_embed: (B, P, C) of P queries.

    Returns:
        (B, P, C).
    """
    embed = mask_embed.detach().to(mask_features.dtype)
    inside = (torch.einsum("bpc,bchw->bphw", embed, mask_features) > 0).to(mask_features.dtype)
    sums = torch.einsum("bphw,bchw->bpc", inside, mask_features)
    return sums / (inside.sum((-1, -2))[..., None] + 1e-8)
