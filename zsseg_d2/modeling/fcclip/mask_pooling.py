"""Mask pooling in training: mask features averaged inside each query's own mask (Yu et al. 2023, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CELLS = {"cpu": 512}  # at a time: what lies between two products stays in the cache
_ELEMENTS = 1 << 26  # elsewhere: mask logits at a time


def mask_pool(mask_features: Tensor, mask_embed: Tensor) -> Tensor:
    """Means of the mask features over the cells where a query's mask logit is positive; 0 for an empty mask.

    All queries of all layers in one pass over the cells: no mask is kept whole but as truth values, and the gradient of
    the features is one sum. As published, none goes to the embeddings: a mask is a threshold.

    Args:
        mask_features: (B, C, h, w) float32. mask_embed: (B, P, C) of P queries.

    Returns:
        (B, P, C).
    """
    return _MaskPool.apply(mask_features, mask_embed.detach().to(mask_features.dtype))


class _MaskPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mask_features: Tensor, mask_embed: Tensor) -> Tensor:
        batch, count, channels = mask_embed.shape
        inside = torch.empty(batch, count, mask_features[0, 0].numel(), dtype=torch.bool, device=mask_features.device)
        sums = mask_features.new_zeros(batch, count, channels)
        area = mask_features.new_full((batch, count, 1), 1e-8)
        for cells, embed, truth, total, size in zip(mask_features.flatten(2), mask_embed, inside, sums, area):
            for part in _parts(truth):
                masks = embed @ cells[:, part]
                truth[:, part] = torch.gt(masks, 0, out=masks)  # 0 and 1
                size += masks.sum(-1, keepdim=True)
                total.addmm_(masks, cells[:, part].T)
        ctx.save_for_backward(inside, area)
        ctx.size = mask_features.shape[2:]
        return sums / area

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        inside, area = ctx.saved_tensors
        gradient = gradient / area
        to_features = gradient.new_empty(len(inside), gradient.shape[2], inside.shape[2])
        for truth, embed, out in zip(inside, gradient, to_features):
            for part in _parts(truth):
                out[:, part] = embed.T @ truth[:, part].to(gradient.dtype)
        return to_features.unflatten(2, ctx.size), None


def _parts(inside: Tensor) -> list[slice]:
    """Ranges of cells of a (P, cells) map."""
    count, cells = inside.shape
    step = _CELLS.get(inside.device.type) or max(1, _ELEMENTS // max(count, 1))
    return [slice(start, min(start + step, cells)) for start in range(0, cells, step)]
