"""Where bfloat16 is used, channels-last norms, and one softmax for all masks: against plain float32 and float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zsseg_d2.modeling.clip.resnet import attention_pool
from zsseg_d2.modeling.fast_forms import plain_forms
from zsseg_d2.modeling.fcclip.layers import GroupNorm, full_precision


@pytest.mark.parametrize("mean", [0.0, 3.0, -40.0])
def test_group_norm_keeps_its_digits_in_any_order_of_memory(mean):
    norm = GroupNorm(8, 64)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    x = torch.randn(2, 64, 70, 90, generator=torch.Generator().manual_seed(0)) + mean
    expected = F.group_norm(x.double(), 8, norm.weight.double(), norm.bias.double())
    for form in (x, x.to(memory_format=torch.channels_last)):
        with torch.no_grad():
            torch.testing.assert_close(norm(form).double(), expected, rtol=0, atol=5e-6 * (1 + abs(mean)))
        recorded_form = norm(form.requires_grad_())
        torch.testing.assert_close(recorded_form.double(), expected, rtol=0, atol=5e-6 * (1 + abs(mean)))


def _pool(width: int = 64, heads: int = 4, side: int = 3) -> nn.Module:
    pool = nn.Module()
    pool.num_heads = heads
    pool.positional_embedding = nn.Parameter(torch.randn(side * side + 1, width))
    pool.q_proj, pool.k_proj, pool.v_proj = (nn.Linear(width, width) for _ in range(3))
    pool.c_proj = nn.Linear(width, 20)
    return pool


@pytest.mark.parametrize("spread", [1.0, 6.0])
def test_attention_pooling_by_one_softmax(spread):
    torch.manual_seed(0)
    pool, dense = _pool(), torch.randn(2, 64, 5, 7) * spread
    inside = torch.rand(2, 9, 5, 7) < 0.3
    inside[0, 0], inside[1, 3] = False, True  # an empty mask looks everywhere
    with torch.no_grad():
        actual = attention_pool(pool, dense, inside)
        with plain_forms():
            expected = attention_pool(pool, dense, inside)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * spread)


def test_full_precision_leaves_bfloat16_to_inference():
    cpu = torch.device("cpu")
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision(cpu):
            assert not torch.is_autocast_enabled("cpu")
        with torch.no_grad(), full_precision(cpu):
            assert torch.is_autocast_enabled("cpu")
    with torch.no_grad(), full_precision(cpu):
        assert not torch.is_autocast_enabled("cpu")
