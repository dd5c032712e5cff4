"""Distillation terms and query pairing against numbers worked out by hand and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from zsseg_d2.modeling.distillation import class_distillation, mask_distillation, out_queries
from zsseg_d2.modeling.fcclip.ensemble import suppress_void
from zsseg_d2.modeling.fcclip.matcher import pair_queries


def test_mse_by_hand():
    student, teacher = (
        torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 4.0]]),
        torch.tensor([[0.0, 4.0, 0.0], [0.0, 3.0, 0.0]]),
    )
    assert class_distillation(student, teacher, None).item() == pytest.approx((1 + 4 + 9 + 16) / 6)
    assert class_distillation(student, teacher, [1]).item() == pytest.approx((4 + 9) / 2)


@pytest.mark.parametrize("classes", [None, [1, 2]])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kl_is_scipys(classes, temperature):
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(5, 4)) * 3, rng.normal(size=(5, 4)) * 3

    def grouped(z):
        p = softmax(z / temperature, axis=1)
        return p if classes is None else np.column_stack((p[:, classes], p[:, [0, 3]].sum(1)))

    expected = temperature**2 * rel_entr(grouped(teacher), grouped(student)).sum(1).mean()
    loss = class_distillation(torch.tensor(student), torch.tensor(teacher), classes, "kl", temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_kl_is_finite_where_a_probability_underflows():
    student = torch.tensor([[900.0, -900.0, 0.0]], requires_grad=True)
    class_distillation(student, torch.tensor([[-900.0, 900.0, 0.0]]), [1], "kl", 1.0).backward()
    assert student.grad.isfinite().all()


def test_unknown_loss():
    with pytest.raises(ValueError, match="DISTILLATION.LOSS='l1'"):
        class_distillation(torch.zeros(1, 2), torch.zeros(1, 2), None, "l1")


def test_out_queries_are_those_that_name_a_class_before_void():
    logits = torch.tensor([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 4.0, 5.0]])
    assert out_queries(logits, [1]).tolist() == [False, True, False]


def test_mask_distillation_by_hand():
    # teacher probabilities (0.5, 0.5), student (0.5, 0.5): entropy ln 2; dice 1 - (2 * 0.5 + 1) / (1 + 1 + 1)
    entropy, dice = mask_distillation(torch.zeros(1, 2), torch.zeros(1, 2))
    assert (entropy.item(), dice.item()) == pytest.approx((math.log(2), 1 / 3))
    assert sum(mask_distillation(torch.zeros(0, 2), torch.zeros(0, 2))).item() == 0


def test_pairing_finds_a_permutation():
    generator = torch.Generator().manual_seed(0)
    logits, masks = torch.randn(8, 5, generator=generator) * 4, torch.randn(8, 30, generator=generator) * 4
    order = torch.randperm(8, generator=generator)
    assert torch.equal(order[pair_queries(logits, logits[order], masks, masks[order])], torch.arange(8))


def test_void_suppression_by_hand():
    outside = torch.tensor([[0.75, 0.25], [0.5, 0.5]]).log()
    void = torch.tensor([0.8, 0.8])
    assert suppress_void(void, outside, 0.5).tolist() == pytest.approx([0.8 * (1 - 0.375), 0.8 * 0.75])
    assert suppress_void(void, outside, 0.5, torch.tensor([True, False])).tolist() == pytest.approx([0.5, 0.8])
    assert suppress_void(void, outside, 0.0) is void
