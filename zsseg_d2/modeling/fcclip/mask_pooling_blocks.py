"""Mask pooling for all queries of all layers in one pass over the cells, block by block.

Of the masks only truth values are kept, and the gradient of the features is one sum.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CELLS = {"cpu": 512}  # at a time: the block between two products stays in the cache
_ELEMENTS = 1 << 26  # on other devices: mask logits at a time


def mask_pool(mask_features: Tensor, mask_embed: Tensor) -> Tensor:
    """Average mask features inside masks; see :func:`zsseg_d2.modeling.fcclip.mask_pooling.mask_pool`."""
    return _MaskPool.apply(mask_features, mask_embed.detach().to(mask_features.dtype))


class _MaskPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mask_features: Tensor, mask_embed: Tensor) -> Tensor:
        batch, count, channels = mask_embed.shape
        inside = torch.empty(batch, count, mask_features[0, 0].numel(), dtype=torch.bool, device=mask_features.device)
        sums = mask_features.new_zeros(batch, count, channels)
        area = mask_features.new_full((batch, count, 1), 1e-8)
        for cells, embed, truth, total, size in zip(mask_features.flatten(2), mask_embed, inside, sums, area):
            for block in _blocks(truth):
                masks = embed @ cells[:, block]
                truth[:, block] = torch.gt(masks, 0, out=masks)  # 0 and 1
                size += masks.sum(-1, keepdim=True)
                total.addmm_(masks, cells[:, block].T)
        ctx.save_for_backward(inside, area)
        ctx.size = mask_features.shape[2:]
        return sums / area

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        inside, area = ctx.saved_tensors
        gradient = gradient / area
        to_features = gradient.new_empty(len(inside), gradient.shape[2], inside.shape[2])
        for truth, pooled, out in zip(inside, gradient, to_features):
            for block in _blocks(truth):
                out[:, block] = pooled.T @ truth[:, block].to(gradient.dtype)
        return to_features.unflatten(2, ctx.size), None


def _blocks(inside: Tensor) -> list[slice]:
    """Return ranges of the cells of a (P, cells) map."""
    count, cells = inside.shape
    step = _CELLS.get(inside.device.type) or max(1, _ELEMENTS // max(count, 1))
    return [slice(start, min(start + step, cells)) for start in range(0, cells, step)]
