"""The softmax of each head's samples on a CPU: many short rows at once, by one matrix product each way."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .plain import softmax_per_head


def softmax(logits: Tensor, heads: int) -> Tensor:
    """Take the softmax over each head's samples; see :func:`softmax_per_head`.

    Args:
        logits: (..., M·samples) float32 or float64 on a CPU.
        heads: M.

    Returns:
        (..., M, samples).
    """
    return _Softmax.apply(logits, heads)


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, heads: int) -> Tensor:
        weights = (logits - logits.amax(-1, keepdim=True)).exp_()
        with torch.autocast("cpu", enabled=False):
            sums = weights @ _same_head(heads, logits.shape[-1] // heads, logits.dtype)
        # The maximum is that of all heads. A head far below it underflows, and NaN fails the comparison too.
        if bool((sums > 1e-30).all()):
            weights = weights.div_(sums).unflatten(-1, (heads, -1))
        else:
            weights = softmax_per_head(logits, heads)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        products = (gradient * weights).flatten(-2)
        sums = products @ _same_head(*weights.shape[-2:], weights.dtype)
        return products.sub_(sums.mul_(weights.flatten(-2))), None


@functools.lru_cache(maxsize=16)
def _same_head(heads: int, samples: int, dtype: torch.dtype) -> Tensor:
    """Return (M·samples, M·samples) 1 where two samples belong to one head, else 0."""
    with torch.inference_mode(False):  # kept beyond any evaluation
        return torch.block_diag(*torch.ones(heads, samples, samples, dtype=dtype))
