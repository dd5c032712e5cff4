"""Mask pooling against its definition written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zsseg_d2.modeling.fast_forms import plain_forms
from zsseg_d2.modeling.fcclip import mask_pooling_blocks
from zsseg_d2.modeling.fcclip.mask_pooling import mask_pool


def slow(features: torch.Tensor, embed: torch.Tensor) -> torch.Tensor:
    """One query at a time, as written in the paper."""
    rows = []
    for maps, queries in zip(features, embed):
        cells = maps.flatten(1).T  # (h·w, C)
        inside = (cells @ queries.T).detach() > 0
        rows.append(torch.stack([cells[chosen].sum(0) / (chosen.sum() + 1e-8) for chosen in inside.T]))
    return torch.stack(rows)


def plain(features: torch.Tensor, embed: torch.Tensor) -> torch.Tensor:
    with plain_forms():
        return mask_pool(features, embed)


@settings(deadline=None, max_examples=30)
@given(
    batch=st.integers(1, 3),
    queries=st.integers(1, 9),
    channels=st.integers(1, 5),
    size=st.tuples(st.integers(1, 6), st.integers(1, 7)),
    cells=st.sampled_from([1, 3, 1000]),
    channels_last=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_values_and_gradients(batch, queries, channels, size, cells, channels_last, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64)
    if channels_last:
        features = features.contiguous(memory_format=torch.channels_last)
    embed, upstream = (
        torch.randn(batch, queries, channels, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(mask_pooling_blocks._CELLS, "cpu", cells)
        for form in (mask_pool, plain, slow):
            leaf = features.clone().requires_grad_()
            pooled = form(leaf, embed)
            found.append((pooled, *torch.autograd.grad(pooled, leaf, upstream)))
    for fast, other, expected in zip(*found):
        torch.testing.assert_close(fast, expected)
        torch.testing.assert_close(other, expected)


def test_an_empty_mask_pools_nothing_and_embeddings_get_no_gradient():
    features = torch.ones(1, 2, 4, 4, requires_grad=True)
    embed = torch.tensor([[[-1.0, -1.0], [1.0, 1.0]]], requires_grad=True)
    pooled = mask_pool(features, embed)
    torch.testing.assert_close(pooled, torch.tensor([[[0.0, 0.0], [1.0, 1.0]]]))
    pooled.sum().backward()
    assert embed.grad is None and float(features.grad.sum()) == pytest.approx(2.0)
