"""Fusion of two models' logits: numbers worked out by hand, and what must hold for any numbers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plain import fusion as plain
from zsseg_d2.modeling.fusion import FUSIONS, FusionSettings, build_fusion, fuse_logits, fuse_masks

SURE = (math.log(0.8), math.log(0.1), math.log(0.1))  # softmax (0.8, 0.1, 0.1), H = 0.639032 nats
SPLIT = (math.log(0.25), math.log(0.5), math.log(0.25))  # softmax (0.25, 0.5, 0.25), H = 1.5 ln 2 = 1.039721
FIRM = (math.log(0.05), math.log(0.9), math.log(0.05))  # softmax (0.05, 0.9, 0.05)

# H(0.8, 0.1, 0.1) = -0.8 ln 0.8 - 0.2 ln 0.1 = 0.178515 + 0.460517 = 0.639032, so 1 - H = 0.360968;
# H(0.25, 0.5, 0.25) = 1.039721, so 1 - H = -0.039721; over ln 3 = 1.098612:
# 1 - 0.581672 = 0.418328, 1 - 0.946395 = 0.053605.
BY_HAND = [
    ("mean", SURE, SPLIT, [math.log(0.2) / 2, math.log(0.05) / 2, math.log(0.025) / 2]),
    ("weighted", (1.0, 2.0, -3.0), (0.0, 1.0, 2.0), [0.6, 1.6, -1.0]),
    ("softmax_sum", SURE, SPLIT, [1.05, 0.6, 0.35]),
    ("softmax_threshold", SURE, SPLIT, [0.8, 0.1, 0.1]),
    ("softmax_threshold", SPLIT, SURE, [0.8, 0.1, 0.1]),
    ("softmax_threshold", SURE, FIRM, [0.8, 0.9, 0.1]),
    ("softmax_threshold", SPLIT, SPLIT, [0.5, 1.0, 0.5]),
    ("softmax_entropy", SURE, SPLIT, [0.278844, 0.016236, 0.026166]),
    ("normalized_entropy", SURE, SPLIT, [0.348064, 0.068635, 0.055234]),
]


@pytest.mark.parametrize(("name", "one", "two", "expected"), BY_HAND)
def test_class_fusions_by_hand(name, one, two, expected):
    fused = fuse_logits(torch.tensor([one]), torch.tensor([two]), FusionSettings(name))
    torch.testing.assert_close(fused, torch.tensor([expected]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "one", "two", "expected"), [row for row in BY_HAND if "soft" in row[0] or "ent" in row[0]]
)
def test_sums_of_probabilities_are_scaled(name, one, two, expected):
    fused = fuse_logits(torch.tensor([one]), torch.tensor([two]), FusionSettings(name, scale=20.0))
    torch.testing.assert_close(fused, 20 * torch.tensor([expected]), atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", ["mean", "weighted"])
def test_means_of_logits_are_not_scaled(name):
    one, two = torch.tensor([SURE]), torch.tensor([SPLIT])
    assert torch.equal(
        fuse_logits(one, two, FusionSettings(name, scale=20.0)), fuse_logits(one, two, FusionSettings(name))
    )


def test_topk_keeps_the_largest_of_each():
    fused = fuse_logits(torch.tensor([SURE]), torch.tensor([FIRM]), FusionSettings("softmax_topk", top_k=1))
    torch.testing.assert_close(fused, torch.tensor([[0.8, 0.9, 0.0]]))
    many = fuse_logits(torch.tensor([SURE]), torch.tensor([FIRM]), FusionSettings("softmax_topk", top_k=99))
    torch.testing.assert_close(
        many, fuse_logits(torch.tensor([SURE]), torch.tensor([FIRM]), FusionSettings("softmax_sum"))
    )


def test_the_published_entropy_formula():
    generator = torch.Generator().manual_seed(0)
    one, two = (torch.randn(7, 20, generator=generator, dtype=torch.float64) * 5 for _ in range(2))
    expected = torch.zeros(7, 20, dtype=torch.float64)
    for z in (one, two):
        for q in range(7):
            e = [math.exp(v - float(z[q].max())) for v in z[q].tolist()]
            s = [v / sum(e) for v in e]
            h = -sum(p * math.log(p + 1e-9) for p in s)
            expected[q] += torch.tensor([p * (1 - h) for p in s], dtype=torch.float64)
    fused = fuse_logits(one, two, FusionSettings("softmax_entropy"))
    torch.testing.assert_close(fused.double(), expected, atol=1e-6, rtol=0)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(FUSIONS.names())), st.integers(0, 2**31), st.floats(0.1, 60))
def test_class_fusions_are_finite_in_value_and_gradient_and_act_on_each_query_alone(name, seed, spread):
    generator = torch.Generator().manual_seed(seed)
    one, two = (torch.randn(5, 9, generator=generator).mul(spread).requires_grad_() for _ in range(2))
    fused = fuse_logits(one, two, FusionSettings(name))
    fused.square().sum().backward()
    assert fused.isfinite().all() and one.grad.isfinite().all() and two.grad.isfinite().all()
    alone = fuse_logits(one[2:3], two[2:3], FusionSettings(name))
    torch.testing.assert_close(alone, fused[2:3])


def test_unknown_fusion():
    with pytest.raises(ValueError, match="FUSION.NAME='entropy'.*softmax_entropy"):
        fuse_logits(torch.zeros(1, 2), torch.zeros(1, 2), FusionSettings("entropy"))


def logit(p: float) -> float:
    return math.log(p / (1 - p))


# Binary entropies: H(0.9) = 0.325083, H(0.4) = 0.673012; weights 0.674917 and 0.326988;
# (0.674917 * 0.9 + 0.326988 * 0.4) / 1.001905 = 0.736817. Normalised by ln 2: weights 0.531004 and 0.029049.
@pytest.mark.parametrize(
    ("name", "p", "q", "expected"),
    [
        ("mean", 0.9, 0.4, 0.65),
        ("softmax_sum", 0.9, 0.4, 0.65),
        ("softmax_topk", 0.9, 0.4, 0.65),
        ("weighted", 0.9, 0.4, 0.7),
        ("softmax_threshold", 0.9, 0.4, 0.9),
        ("softmax_threshold", 0.6, 0.05, 0.05),
        ("softmax_threshold", 0.6, 0.4, 0.5),
        ("softmax_threshold", 0.9, 0.2, 0.9 / 1.7),  # (max(0.9, 0.2), max(0.1, 0.8)), divided by its sum
        ("softmax_entropy", 0.9, 0.4, 0.736817),
        ("normalized_entropy", 0.9, 0.4, (0.531004 * 0.9 + 0.029049 * 0.4) / 0.560053),
        ("normalized_entropy", 0.5, 0.5, 0.5),
    ],
)
def test_mask_fusions_by_hand(name, p, q, expected):
    fused = fuse_masks(torch.tensor([logit(p)]), torch.tensor([logit(q)]), FusionSettings(name)).sigmoid()
    assert fused.item() == pytest.approx(expected, abs=2e-6)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(FUSIONS.names())), st.integers(0, 2**31), st.floats(0.1, 40))
def test_a_fused_mask_lies_between_the_two_and_does_not_know_its_neighbours(name, seed, spread):
    generator = torch.Generator().manual_seed(seed)
    one, two = (torch.randn(2, 4, 6, generator=generator).mul(spread).requires_grad_() for _ in range(2))
    fused = fuse_masks(one, two, FusionSettings(name))
    fused.sigmoid().sum().backward()
    assert one.grad.isfinite().all() and two.grad.isfinite().all()
    low, high = torch.minimum(one, two).sigmoid(), torch.maximum(one, two).sigmoid()
    assert (fused.sigmoid() >= low - 1e-5).all() and (fused.sigmoid() <= high + 1e-5).all()
    narrow = fuse_masks(one[..., 3:4], two[..., 3:4], FusionSettings(name))  # a softmax over the width would differ
    torch.testing.assert_close(narrow, fused[..., 3:4])


EXTREMES = (-120.0, -31.0, -28.0, -1.25, -0.5, 0.25, 2.0, 28.0, 31.0, 120.0)


@pytest.mark.parametrize("name", sorted(FUSIONS.names()))
def test_masks_and_gradients_are_the_plain_forms_for_logits_of_any_size(name):
    """Below a logit of -28 a probability is less than 1e-12, yet the fused logit must learn."""
    pairs = [(a, b) for a in EXTREMES for b in EXTREMES if a != b]  # at equal logits a maximum has no slope
    one, two = (torch.tensor(column, dtype=torch.float32, requires_grad=True) for column in zip(*pairs))
    fused = fuse_masks(one, two, FusionSettings(name))
    expected = torch.tensor([float(plain.fused_mask(name, *pair)) for pair in pairs])
    torch.testing.assert_close(fused, expected, rtol=2e-6, atol=2e-5)
    gradients = torch.stack(torch.autograd.grad(fused.sum(), (one, two)), 1)
    slopes = torch.tensor([[float(x) for x in plain.slopes(name, *pair)] for pair in pairs])
    torch.testing.assert_close(gradients, slopes, rtol=1e-4, atol=1e-5)
    assert (gradients.sum(1) > 0.01).sum() > len(pairs) / 2


@pytest.mark.parametrize("name", sorted(FUSIONS.names()))
def test_mask_gradients_by_finite_differences(name):
    generator = torch.Generator().manual_seed(3)
    one, two = (torch.randn(40, generator=generator, dtype=torch.float64) * 30 for _ in range(2))
    fusion = build_fusion(FusionSettings(name))
    assert torch.autograd.gradcheck(fusion.fuse_masks, (one.requires_grad_(), two.requires_grad_()))


@pytest.mark.parametrize(("share", "kept"), [(0.0, 1), (1.0, 0)])
def test_a_model_without_weight_takes_no_part(share, kept):
    logits = torch.tensor([-90.0, -3.0, 4.0]), torch.tensor([50.0, 1.0, -40.0])
    leaves = [z.clone().requires_grad_() for z in logits]
    fused = fuse_masks(*leaves, FusionSettings("weighted", weight=share))
    torch.testing.assert_close(fused, logits[kept])
    gradients = torch.autograd.grad(fused.sum(), leaves)
    torch.testing.assert_close(gradients[kept], torch.ones(3))
    assert not gradients[1 - kept].any()
