"""Deformable attention by bags of rows: values and gradients of the plain form, wherever samples lie."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zsseg_d2.modeling.deformable_attention import gather_cpu, ms_deform_attn

LEVELS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=3)


def _case(
    seed: int, shapes, batch: int, queries: int, heads: int, points: int, spread: float, dtype=torch.float64
) -> list:
    generator = torch.Generator().manual_seed(seed)
    value = torch.randn(batch, sum(h * w for h, w in shapes), heads, 4, generator=generator, dtype=dtype)
    locations = 0.5 + spread * (
        torch.rand(batch, queries, heads, len(shapes), points, 2, generator=generator, dtype=dtype) - 0.5
    )
    weights = torch.rand(batch, queries, heads, len(shapes), points, generator=generator, dtype=dtype)
    return [x.requires_grad_() for x in (value, locations, weights)]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    LEVELS,
    st.integers(1, 2),
    st.integers(1, 9),
    st.sampled_from([(1, 1), (2, 3)]),
    st.sampled_from([1.0, 2.5]),
)
def test_values_and_gradients_equal_the_plain_form(seed, shapes, batch, queries, heads_points, spread):
    value, locations, weights = _case(seed, shapes, batch, queries, *heads_points, spread)
    expected = ms_deform_attn(value, shapes, locations, weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gather_cpu, "_QUERIES", 4)  # several parts
        actual = gather_cpu.sampler(value, shapes)(locations, weights)
        with torch.no_grad():
            unrecorded = gather_cpu.sampler(value, shapes)(locations, weights)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)
        assert torch.equal(actual, unrecorded)
        upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        gradients = torch.autograd.grad(actual, (value, locations, weights), upstream)
    for fast, plain in zip(gradients, torch.autograd.grad(expected, (value, locations, weights), upstream)):
        torch.testing.assert_close(fast, plain, rtol=0, atol=1e-10)


def test_the_side_that_is_taken_where_the_slope_jumps():
    """At cell centres, and where samples begin to read the map, as in torch's grid_sample; sizes are powers of 2."""
    shapes = [(2, 4)]
    value, _, weights = _case(4, shapes, 1, 35, 1, 1, 1.0)
    y, x = torch.meshgrid(torch.arange(-2, 3), torch.arange(-2, 5), indexing="ij")
    places = torch.stack(((x + 0.5) / 4, (y + 0.5) / 2), -1).double().reshape(1, 35, 1, 1, 1, 2).requires_grad_()
    inputs = value, places, weights
    expected, actual = (
        ms_deform_attn(value, shapes, places, weights),
        gather_cpu.sampler(value, shapes)(places, weights),
    )
    for fast, plain in zip(torch.autograd.grad(actual.sum(), inputs), torch.autograd.grad(expected.sum(), inputs)):
        torch.testing.assert_close(fast, plain, rtol=0, atol=1e-12)


def test_no_query_at_all():
    inputs = _case(5, [(2, 2)], 1, 0, 2, 3, 1.0)
    output = gather_cpu.sampler(inputs[0], [(2, 2)])(*inputs[1:])
    assert output.shape == (1, 0, 8)
    assert [int(g.count_nonzero()) for g in torch.autograd.grad(output.sum(), inputs)] == [0, 0, 0]


def test_gradients_equal_finite_differences():
    shapes = [(3, 5), (2, 2)]
    assert torch.autograd.gradcheck(
        lambda v, p, w: gather_cpu.sampler(v, shapes)(p, w), _case(1, shapes, 1, 5, 2, 3, 1.3)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_values_precision_is_kept_and_sums_are_not_taken_in_it(dtype):
    shapes = [(4, 6), (2, 3)]
    value, locations, weights = (x.detach() for x in _case(2, shapes, 1, 7, 2, 3, 1.0, torch.float32))
    value = value.to(dtype)
    actual = gather_cpu.sampler(value, shapes)(locations, weights)
    assert actual.dtype == dtype
    assert (
        torch.equal(actual, ms_deform_attn(value.float(), shapes, locations, weights).to(dtype))
        or dtype == torch.float32
    )
    torch.testing.assert_close(
        actual.float(), ms_deform_attn(value.float(), shapes, locations, weights), rtol=8e-3, atol=1e-5
    )


def test_what_is_not_a_number_stays_so_and_spoils_nothing_else():
    """A diverged step ends in a clear message elsewhere, not in an index error here."""
    value, locations, weights = (x.detach() for x in _case(3, [(2, 2)], 1, 3, 1, 1, 1.0))
    expected = ms_deform_attn(value, [(2, 2)], locations, weights)
    locations[0, 0], locations[0, 1] = float("nan"), float("inf")
    actual = gather_cpu.sampler(value, [(2, 2)])(locations, weights)[0]
    assert bool(actual[0].isnan().all()) and actual[1].tolist() == [0.0] * 4
    torch.testing.assert_close(actual[2], expected[0, 2])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 6), st.sampled_from([1.0, 30.0, 500.0]))
def test_softmax_of_heads(seed, heads, samples, spread):
    logits = (
        torch.randn(2, 5, heads * samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * spread
    )
    expected = logits.unflatten(-1, (heads, samples)).softmax(-1)
    torch.testing.assert_close(gather_cpu.softmax(logits.float(), heads).double(), expected, rtol=1e-3, atol=1e-6)


def test_softmax_of_a_head_far_below_another():
    logits = torch.tensor([[400.0, 401.0, -300.0, -301.0]])
    assert torch.equal(gather_cpu.softmax(logits, 2), logits.unflatten(-1, (2, 2)).softmax(-1))
    assert bool(gather_cpu.softmax(torch.full((1, 4), float("nan")), 2).isnan().all())


def test_more_rows_than_float32_counts_are_left_to_the_plain_form():
    value = torch.empty(1, 1, 8, 4)
    assert gather_cpu.available(value, [(512, 512)])
    assert not gather_cpu.available(value, [(2048, 2048)])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 5), st.sampled_from([1.0, 20.0]))
def test_gradient_of_the_softmax(seed, heads, samples, spread):
    generator = torch.Generator().manual_seed(seed)
    logits = (spread * torch.randn(2, 3, heads * samples, generator=generator, dtype=torch.float64)).requires_grad_()
    upstream = torch.randn(2, 3, heads, samples, generator=generator, dtype=torch.float64)
    forms = gather_cpu.softmax(logits, heads), logits.unflatten(-1, (heads, samples)).softmax(-1)
    gradients, plain = (torch.autograd.grad(form, logits, upstream)[0] for form in forms)
    torch.testing.assert_close(gradients, plain, rtol=0, atol=1e-12)
