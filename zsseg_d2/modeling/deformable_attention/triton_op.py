"""Deformable attention sampling on a GPU: one Triton kernel each way, without a tensor of samples."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .plain import ms_deform_attn as plain_ms_deform_attn

logger = logging.getLogger(__name__)

Shapes = tuple[tuple[int, int], ...]
"""(h, w) of each level."""

# Per kernel: numbers of one operand that a program holds, and warps. One warp needs no barrier between sums and stores.
_SIZES = {"deformable_forward": (512, 4), "deformable_backward": (128, 1)}


def available(value: Tensor) -> bool:
    """Return whether :func:`ms_deform_attn` of this file can replace the plain form.

    It needs a GPU on which Triton runs, half or single precision, and no ``ZSSEG_D2_TRITON=0`` in the environment.
    Under ``torch.use_deterministic_algorithms`` values that need a gradient are left to the plain form: the kernel adds
    the gradients that meet in one pixel in the order in which they arrive, which changes the last bits.

    Args:
        value: (B, S, M, D), the values to be sampled.
    """
    if not value.is_cuda or value.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    if os.environ.get("ZSSEG_D2_TRITON", "1") == "0":
        return False
    if value.requires_grad and torch.are_deterministic_algorithms_enabled():
        return False
    # While torch traces nothing can be tried, and what it compiles for a GPU needs Triton anyway.
    return torch.compiler.is_compiling() or _runs(value.device)


def ms_deform_attn(value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Sum bilinear samples of every level, weighted by attention (Zhu et al. 2021, equation 3).

    The three tensors may differ in precision; sums are taken in float32. Only first derivatives exist. The value's
    gradient can differ in its last bits from run to run.

    Args:
        value: (B, S, M, D): S = Σ h·w flattened levels, M heads, D channels per head.
        shapes: (h, w) of each level.
        locations: (B, L, M, levels, points, 2) as (x, y) in [0, 1]; samples outside are 0. float32 is better: bfloat16
            keeps 8 bits of a position.
        weights: (B, L, M, levels, points).

    Returns:
        (B, L, M·D) in the value's precision.

    Raises:
        ValueError: If the sizes do not fit each other.
    """
    levels: Shapes = tuple((int(h), int(w)) for h, w in shapes)
    batch, cells, heads, _ = value.shape
    if cells != sum(h * w for h, w in levels):
        raise ValueError(f"Deformable attention: {cells} values do not fill levels of shapes {levels}.")
    if locations.ndim != 6 or tuple(locations.shape[i] for i in (0, 2, 3, 5)) != (batch, heads, len(levels), 2):
        raise ValueError(
            f"Deformable attention: locations of {tuple(locations.shape)} do not fit values of {tuple(value.shape)} "
            f"and {len(levels)} levels."
        )
    if weights.shape != locations.shape[:-1]:
        raise ValueError(
            f"Deformable attention: weights of {tuple(weights.shape)} for locations of {tuple(locations.shape)}."
        )
    return _TritonAttention.apply(value, locations, weights, levels)


class _TritonAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, locations: Tensor, weights: Tensor, shapes: Shapes) -> Tensor:
        value, locations, weights = value.contiguous(), locations.contiguous(), weights.contiguous()
        ctx.save_for_backward(value, locations, weights)
        ctx.shapes = shapes
        output = value.new_empty(*locations.shape[:3], value.shape[-1])
        _launch("deformable_forward", shapes, value, locations, weights, output)
        return output.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        value, locations, weights = ctx.saved_tensors
        to_value = torch.zeros_like(value, dtype=torch.float32)
        to_locations, to_weights = torch.empty_like(locations), torch.empty_like(weights)
        gradients = to_value, to_locations, to_weights
        _launch("deformable_backward", ctx.shapes, value, locations, weights, gradient.contiguous(), *gradients)
        return to_value.to(value.dtype), to_locations, to_weights, None


def _launch(name: str, shapes: Shapes, value: Tensor, locations: Tensor, *others: Tensor) -> None:
    from . import triton_kernels  # here: Triton is optional

    batch, queries, heads, levels, points, _ = locations.shape
    channels = value.shape[-1]
    numbers, warps = _SIZES[name]
    table = _level_table(shapes, value.device)
    lanes = 1 << (channels - 1).bit_length()
    rows, rows_per_program = batch * queries * heads, max(1, numbers // lanes)
    if not rows:
        return
    # Triton launches on the current device.
    with torch.cuda.device(value.device) if value.is_cuda else contextlib.nullcontext():
        getattr(triton_kernels, name)[(-(-rows // rows_per_program),)](
            value,
            table,
            locations,
            *others,
            rows,
            queries * heads,
            value.shape[1],
            HEADS=heads,
            CHANNELS=channels,
            LEVELS=levels,
            POINTS=points,
            ROWS=rows_per_program,
            LANES=lanes,
            num_warps=warps,
            enable_fp_fusion=True,  # as grid_sample is compiled
        )


@functools.lru_cache(maxsize=64)  # a copy to the device waits for it: once per size, not in every layer
def _level_table(shapes: Shapes, device: torch.device) -> Tensor:
    """Return (levels, 3) int32: height, width and first cell of each level."""
    firsts = [sum(h * w for h, w in shapes[:level]) for level in range(len(shapes))]
    return torch.tensor([(h, w, first) for (h, w), first in zip(shapes, firsts)], dtype=torch.int32, device=device)


@functools.cache
def _runs(device: torch.device) -> bool:
    """Return whether both kernels work, by comparing a small case with the plain form.

    At its first launch Triton needs a C compiler and Python's headers, some GPUs are too old for it, and what it
    compiles differs from GPU to GPU.
    """
    try:
        # In training and in tests of any mode, and without touching the program's own random numbers.
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            results = _both_ways(ms_deform_attn, device), _both_ways(plain_ms_deform_attn, device)
            for actual, expected in zip(*results):
                torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)
        return True
    except Exception as error:  # whatever is missing or different, the plain form works
        logger.warning(
            "Triton does not work on %s (%s). Deformable attention uses its plain form there, which is slower.",
            device,
            error,
        )
        return False


def _both_ways(function: Callable[..., Tensor], device: torch.device) -> list[Tensor]:
    """Return output and gradients of ``function`` on a fixed case with samples inside and outside the maps."""
    generator, shapes = torch.Generator().manual_seed(0), ((9, 13), (5, 7), (3, 4))
    value = torch.randn(2, sum(h * w for h, w in shapes), 4, 32, generator=generator)
    locations = torch.rand(2, 10, 4, 3, 4, 2, generator=generator) * 1.2 - 0.1
    weights = torch.rand(2, 10, 4, 3, 4, generator=generator)
    inputs = [x.to(device).requires_grad_() for x in (value, locations, weights)]
    output = function(inputs[0], shapes, *inputs[1:])
    return [output.detach(), *torch.autograd.grad(output.square().sum(), inputs)]
