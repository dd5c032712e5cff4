"""The Triton kernels against the plain form: on a GPU where there is one, and everywhere in Triton's interpreter."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zsseg_d2.modeling.deformable_attention import MSDeformAttn, triton_op
from zsseg_d2.modeling.deformable_attention import ms_deform_attn as plain

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
on_device = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(), reason="needs CUDA; test_in_the_interpreter runs it without"
)
host_only = pytest.mark.skipif(INTERPRETED, reason="of the process that starts the interpreter")

Shapes = list[tuple[int, int]]


def make_case(
    shapes: Shapes, batch: int, queries: int, heads: int, points: int, channels: int, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Value, locations, weights and a gradient for the output. Locations lie anywhere, and on all special places."""
    generator = torch.Generator().manual_seed(seed)
    size = (batch, queries, heads, len(shapes), points)
    sizes = torch.tensor([(w, h) for h, w in shapes])[:, None].expand(*size, 2)
    index = torch.randint(0, 1000, (*size, 2), generator=generator) % (sizes + 2)
    kinds = torch.stack(
        (
            torch.rand(*size, 2, generator=generator) * 1.6 - 0.3,
            index / sizes,  # borders of the map and of its pixels; the last lies outside
            (index - 0.5) / sizes,  # pixel centres, of the first ones outside too
            (index - 1) * 1e9,  # far outside, and the corner (0, 0)
        )
    )
    kind = torch.randint(-2, 4, (1, *size, 2), generator=generator).clamp(0)  # half of them anywhere
    value = torch.randn(batch, sum(h * w for h, w in shapes), heads, channels, generator=generator)
    weights = torch.rand(size, generator=generator)
    gradient = torch.randn(batch, queries, heads * channels, generator=generator)
    return value, kinds.gather(0, kind)[0], weights, gradient


def has_slope(locations: Tensor, shapes: Shapes) -> Tensor:
    """Where both forms must agree on the gradient of a location, as its shape.

    At a pixel centre the slope jumps. Which side is taken is a matter of rounding unless the size is a power of two, so
    that every form computes the place exactly.
    """
    sizes = torch.tensor([(w, h) for h, w in shapes], dtype=torch.float64)[:, None]
    places = locations.double() * sizes - 0.5
    exact = sizes.log2() == sizes.log2().round()
    return (((places - places.round()).abs() > 1e-3) | exact).all(-1, keepdim=True).expand_as(places)


def check(shapes: Shapes, value: Tensor, locations: Tensor, weights: Tensor, gradient: Tensor) -> None:
    """Output and gradients equal the plain form's on the same numbers in float64, up to each tensor's rounding."""
    exact = [x.double().requires_grad_() for x in (value, locations, weights)]
    wanted = plain(exact[0], shapes, *exact[1:])
    wanted_gradients = torch.autograd.grad(wanted, exact, gradient.double())
    inputs = [x.to(DEVICE).requires_grad_() for x in (value, locations, weights)]
    output = triton_op.ms_deform_attn(inputs[0], shapes, *inputs[1:])
    gradients = torch.autograd.grad(output, inputs, gradient.to(DEVICE))
    assert output.dtype == value.dtype and output.shape == gradient.shape
    compared = has_slope(locations, shapes)
    for name, actual, expected, given_as in zip(
        ("output", "value", "locations", "weights"), (output, *gradients), (wanted, *wanted_gradients), (value, *inputs)
    ):
        assert actual.dtype == given_as.dtype, name
        actual, expected = actual.detach().cpu().double(), expected.detach()
        scale = 1 + float(expected.abs().max())
        if name == "locations":
            actual, expected = actual[compared], expected[compared]
        # The interpreter cuts bfloat16 off where a GPU rounds it: a whole step instead of half a one.
        rounding = 0 if given_as.dtype == torch.float32 else torch.finfo(given_as.dtype).eps / (1 if INTERPRETED else 2)
        torch.testing.assert_close(
            actual, expected, rtol=rounding, atol=1e-5 * scale, msg=lambda m, name=name: f"{name}: {m}"
        )


@host_only
@needs_triton
def test_in_the_interpreter():
    """In its own process: Triton decides at its import whether it interprets, and other tests may have imported it."""
    environment = {key: text for key, text in os.environ.items() if not key.startswith("PYTEST_")}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", __file__],
        env={**environment, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0 and " passed" in run.stdout, run.stdout + run.stderr


sides = st.sampled_from((1, 2, 3, 4, 5, 8))


@on_device
@settings(max_examples=4 if INTERPRETED else 15, deadline=None, database=None, derandomize=True)
@given(
    st.lists(st.tuples(sides, sides), min_size=1, max_size=3),
    st.integers(1, 2),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from((1, 2, 3, 4, 5, 8)),
    st.integers(0, 1000),
)
def test_equals_the_plain_form(shapes, batch, queries, heads, points, channels, seed):
    check(shapes, *make_case(shapes, batch, queries, heads, points, channels, seed))


@on_device
@pytest.mark.parametrize("channels", [24, 32, 64])
def test_wide_heads_and_several_programs(channels):
    shapes = [(1, 1), (3, 2)]
    check(shapes, *make_case(shapes, 2, 3, 2, 1, channels, 0))


@on_device
@pytest.mark.parametrize(
    "low, low_locations", [(torch.bfloat16, False), (torch.bfloat16, True), (torch.float16, False)]
)
def test_half_precision_within_its_rounding(low, low_locations):
    shapes = [(4, 4), (3, 5)]
    value, locations, weights, gradient = make_case(shapes, 1, 4, 2, 2, 8, 1)
    locations = locations.clamp(-2, 2)  # float16 ends at 65504
    check(shapes, value.to(low), locations.to(low) if low_locations else locations, weights.to(low), gradient.to(low))


@on_device
def test_gradients_equal_finite_differences():
    """Within a pixel the function is linear in each of its numbers, so that differences over any step are exact."""
    value, _, weights, gradient = make_case([(2, 2)], 1, 1, 1, 2, 2, 2)
    locations = torch.tensor([[0.4, 0.55], [0.1, 0.7]]).view(
        1, 1, 1, 1, 2, 2
    )  # two numbers between pixels, two near borders
    inputs = [x.to(DEVICE).requires_grad_() for x in (value, locations, weights)]
    output = triton_op.ms_deform_attn(inputs[0], [(2, 2)], *inputs[1:])
    gradients = torch.autograd.grad(output, inputs, gradient.to(DEVICE))
    step = 2.0**-6
    for place, analytic in enumerate(gradients):
        ends = []
        for sign in (-1, 1):  # every number moved alone: one batch
            moved = [x.detach().repeat(analytic.numel(), *[1] * (x.ndim - 1)) for x in inputs]
            moved[place] += sign * step * torch.eye(analytic.numel(), device=DEVICE).view_as(moved[place])
            ends.append(triton_op.ms_deform_attn(moved[0], [(2, 2)], *moved[1:]))
        slopes = ((ends[1] - ends[0]) / (2 * step) * gradient.to(DEVICE)).flatten(1).sum(1)
        assert torch.allclose(slopes, analytic.flatten(), atol=1e-4)


@on_device
def test_locations_that_are_no_numbers_sample_nothing():
    value, locations, weights, gradient = make_case([(2, 3)], 1, 2, 1, 3, 4, 3)
    locations[0, 0, 0, 0, :, 0] = torch.tensor([math.nan, math.inf, -math.inf])
    inputs = [x.to(DEVICE).requires_grad_() for x in (value, locations, weights)]
    output = triton_op.ms_deform_attn(inputs[0], [(2, 3)], *inputs[1:])
    gradients = torch.autograd.grad(output, inputs, gradient.to(DEVICE))
    assert not output[0, 0].any() and not gradients[1][0, 0].any() and not gradients[2][0, 0].any()
    assert all(torch.isfinite(x).all() for x in (output, *gradients))


@on_device
def test_strided_inputs_and_no_queries():
    shapes = [(2, 3), (4, 2)]
    value, locations, weights, gradient = make_case(shapes, 2, 3, 2, 2, 4, 4)
    turned = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (value, locations, weights)]
    check(shapes, *turned, gradient[:1].expand(2, -1, -1))
    value, locations, weights = (x.to(DEVICE) for x in (value, locations, weights))
    assert triton_op.ms_deform_attn(value, shapes, locations[:, :0], weights[:, :0]).shape == (2, 0, 8)


@on_device
def test_the_module_takes_the_kernel(monkeypatch):
    torch.manual_seed(0)
    shapes = [(2, 2), (4, 2)]
    module = MSDeformAttn(8, levels=2, heads=2, points=2).to(DEVICE)
    query, source = torch.randn(2, 3, 8, device=DEVICE), torch.randn(2, 12, 8, device=DEVICE)
    reference = torch.tensor(
        [[0.25, 0.125], [0.75, 0.625], [0.25, 0.75]], device=DEVICE
    )  # pixel centres, as in a model
    kernel, own_choice, results, calls = triton_op.ms_deform_attn, triton_op.available, [], []
    monkeypatch.delenv("ZSSEG_D2_TRITON", raising=False)
    if not INTERPRETED:
        assert own_choice(source), "and the trial of the kernel on this device is made, which calls it"
    monkeypatch.setattr(triton_op, "ms_deform_attn", lambda *given: calls.append(given) or kernel(*given))
    for chosen in (False, True):
        choice = own_choice if chosen and not INTERPRETED else lambda value, chosen=chosen: chosen
        monkeypatch.setattr(triton_op, "available", choice)
        output = module(query, reference, source, shapes)
        results.append((output, *torch.autograd.grad(output.square().sum(), list(module.parameters()))))
        assert len(calls) == int(chosen)
    for expected, actual in zip(*results):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_sizes_that_do_not_fit_are_refused():
    value, locations, weights, _ = make_case([(2, 3)], 1, 2, 2, 1, 4, 0)
    for shapes, place, weight in (
        ([(2, 2)], locations, weights),
        ([(2, 2), (1, 2)], locations, weights),
        ([(2, 3)], locations[:, :, :1], weights),
        ([(2, 3)], locations, weights[:, :1]),
    ):
        with pytest.raises(ValueError, match="Deformable attention"):
            triton_op.ms_deform_attn(value, shapes, place, weight)


@host_only
def test_when_it_is_available(monkeypatch):
    monkeypatch.setattr(triton_op, "_runs", lambda device: True)
    monkeypatch.delenv("ZSSEG_D2_TRITON", raising=False)

    def asked(**other) -> bool:
        tensor = {
            "is_cuda": True,
            "dtype": torch.float32,
            "requires_grad": True,
            "device": torch.device("cuda"),
            **other,
        }
        return triton_op.available(SimpleNamespace(**tensor))

    assert asked() and asked(dtype=torch.bfloat16)
    assert not asked(is_cuda=False) and not asked(dtype=torch.float64)
    torch.use_deterministic_algorithms(True)
    try:
        assert not asked() and asked(requires_grad=False)
    finally:
        torch.use_deterministic_algorithms(False)
    monkeypatch.setenv("ZSSEG_D2_TRITON", "0")
    assert not asked()


@host_only
def test_a_machine_on_which_triton_fails_is_told_and_left_alone(monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(triton_op, "_launch", fail)
    monkeypatch.setattr(triton_op.logger, "propagate", True)
    monkeypatch.setattr(triton_op.logger.parent, "propagate", True)
    assert triton_op._runs.__wrapped__(torch.device("cpu")) is False
    assert "C compiler" in caplog.text and "plain form" in caplog.text


@host_only
@pytest.mark.parametrize(("factor", "trusted"), [(1.0, True), (1.01, False)])
def test_kernels_that_compute_something_else_are_not_used(monkeypatch, factor, trusted):
    monkeypatch.setattr(triton_op, "ms_deform_attn", lambda *inputs: plain(*inputs) * factor)
    before = torch.random.get_rng_state()
    with torch.inference_mode():
        assert triton_op._runs.__wrapped__(torch.device("cpu")) is trusted
    assert torch.equal(before, torch.random.get_rng_state())


@needs_triton
@on_device
def test_the_self_check_passes():
    assert triton_op._runs(torch.device(DEVICE))


@host_only
def test_importing_needs_no_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    spec = importlib.util.spec_from_file_location(f"{triton_op.__package__}.without_triton", triton_op.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.available(torch.ones(1))


@host_only
@needs_triton
@pytest.mark.parametrize("name", ["deformable_forward", "deformable_backward"])
def test_compiles_for_a_gpu_without_having_one(name, tmp_path, monkeypatch):
    """What the interpreter lets pass, types above all, the compiler may refuse."""
    compiler = pytest.importorskip("triton.backends.compiler", reason="a Triton older than 3")
    import triton

    from zsseg_d2.modeling.deformable_attention import triton_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(triton_kernels, name)
    constants = {"HEADS": 8, "CHANNELS": 24, "LEVELS": 2, "POINTS": 4, "ROWS": 4, "LANES": 32}
    types = dict.fromkeys(kernel.arg_names, "*fp32") | dict.fromkeys(constants, "constexpr")
    types |= {"value": "*bf16", "table": "*i32"} | dict.fromkeys(("rows", "rows_per_image", "cells"), "i32")
    source = triton.compiler.ASTSource(kernel, types, constexprs=constants)
    compiled = triton.compile(source, target=compiler.GPUTarget("cuda", 80, 32), options={"enable_fp_fusion": True})
    assert "ptx" in compiled.asm
