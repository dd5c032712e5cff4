"""Choose a form of deformable attention: a Triton kernel on a GPU, a gather on a CPU, else the plain form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from .. import fast_forms
from . import gather_cpu, triton_op
from .plain import ms_deform_attn, softmax_per_head

Sampler = Callable[[Tensor, Tensor], Tensor]
"""Locations (B, L, M, levels, points, 2) and weights (B, L, M, levels, points) to (B, L, M·D)."""


def sampler(value: Tensor, shapes: Sequence[tuple[int, int]]) -> Sampler:
    """Bind :func:`ms_deform_attn` to one value, in the form that is fastest for it.

    Args:
        value: (B, S, M, D).
        shapes: (h, w) of each level.

    Returns:
        A function of locations and weights; it may be called for one part of the queries after another.
    """
    if fast_forms.enabled():
        if triton_op.available(value):
            return partial(triton_op.ms_deform_attn, value, shapes)
        if gather_cpu.available(value, shapes):
            return gather_cpu.sampler(value, shapes)
    return partial(ms_deform_attn, value, shapes)


def attention_softmax(logits: Tensor, heads: int) -> Tensor:
    """Take :func:`softmax_per_head` in the form that suits the device; on a CPU in float32 or float64."""
    if fast_forms.enabled() and logits.device.type == "cpu" and not torch.compiler.is_compiling():
        return gather_cpu.softmax(logits if logits.dtype == torch.float64 else logits.float(), heads)
    return softmax_per_head(logits, heads)
