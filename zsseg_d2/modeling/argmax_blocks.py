"""Which query wins each pixel, block by block: no mask is ever stored at full size."""

from __future__ import annotations

import torch
from torch import Tensor

from .upsampling import Upsampler
from .upsampling_blocks import upsampled_blocks

_BLOCK = {"cpu": 1 << 20}  # mask logits compared at a time: what a CPU's cache holds
_OTHER_BLOCK = 1 << 24  # on other devices: 64 MB in float32
_GROUP = 16  # queries per group


def argmax_masks(scores: Tensor, masks: Tensor, queries: Tensor, upsample: Upsampler) -> tuple[Tensor, Tensor, Tensor]:
    """Find the winners; see :func:`zsseg_d2.modeling.postprocessing.argmax_masks`.

    A maximum alone is many times faster than an argmax. So the best of each group of queries is found first, then the
    best group, and only then the best query of that group.
    """
    count, groups = len(queries), -(-len(queries) // _GROUP)
    winner = torch.empty(upsample.output, dtype=torch.int64, device=masks.device)
    inside = torch.empty(upsample.output, dtype=torch.bool, device=masks.device)
    area = torch.zeros(count, dtype=torch.int64, device=masks.device)
    scores = scores[:, None, None]
    products = at_least_half = masks.new_empty(0)  # kept from block to block, as long as its size stays
    for place, block in upsampled_blocks(upsample, masks, queries, _BLOCK.get(masks.device.type, _OTHER_BLOCK)):
        if products.shape[1:] != block.shape[1:]:
            # The last group may have fewer queries: the rest are -1, below any product.
            products = masks.new_full((groups * _GROUP, *block.shape[1:]), -1.0)
            at_least_half = torch.empty_like(block)
        torch.ge(block.sigmoid_(), 0.5, out=at_least_half)
        area += at_least_half.sum((1, 2)).long()  # exact: a block has far fewer than 2^24 pixels
        torch.mul(block, scores, out=products[:count])
        best = _grouped_argmax(products.unflatten(0, (groups, _GROUP)))
        winner[place] = best[0]
        inside[place] = at_least_half.gather(0, best)[0] > 0
    return winner, inside, area


def _grouped_argmax(members: Tensor) -> Tensor:
    """Take the argmax over all members of all groups, the first of equals.

    Args:
        members: (groups, members, h, w).

    Returns:
        (1, h, w) int64, counted through all groups.

    Example:
        >>> members = torch.tensor([[0.1, 0.5], [0.5, 0.2]])[..., None, None]  # 0.5 is number 1 and number 2
        >>> _grouped_argmax(members).tolist()
        [[[1]]]
    """
    size = members.shape[1]
    group = members.amax(1).max(0).indices[None]
    in_group = members.gather(0, group[None].expand(1, size, -1, -1))[0]
    return group * size + in_group.max(0).indices
