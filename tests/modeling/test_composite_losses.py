"""Losses of masks and depths against slow plain forms, values worked out by hand, NumPy and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from zsseg_d2.modeling.composites.losses import LOSSES, MapLoss
from zsseg_d2.modeling.composites.ssim import ssim_map


def shares(seed, size=(2, 13, 17)):
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


def logit(share):
    return torch.logit(share.double()).float()


def plain(name, p, t, valid):
    """One image in loops, with NumPy's float64."""
    height, width = p.shape
    pixels = [(y, x) for y in range(height) for x in range(width) if valid[y, x]]
    if name == "bce":
        return -np.mean([t[i] * math.log(p[i]) + (1 - t[i]) * math.log(1 - p[i]) for i in pixels])
    if name == "dice":
        return 1 - (2 * sum(p[i] * t[i] for i in pixels) + 1) / (sum(p[i] + t[i] for i in pixels) + 1)
    if name == "rmse":
        return math.sqrt(sum((p[i] - t[i]) ** 2 for i in pixels) / len(pixels))
    if name == "l1":
        return sum(abs(p[i] - t[i]) for i in pixels) / len(pixels)
    if name == "gradient":
        found = 0.0
        for step in ((1, 0), (0, 1)):
            slopes = []
            for y, x in pixels:
                other = (y + step[0], x + step[1])
                if other in pixels:
                    slopes.append(abs((p[other] - t[other]) - (p[y, x] - t[y, x])))
            found += sum(slopes) / len(slopes)
        return found
    assert name == "ssi"
    columns = np.array([[p[i], 1.0] for i in pixels])
    wanted = np.array([t[i] for i in pixels])
    best = np.linalg.lstsq(columns, wanted, rcond=None)[0]
    return float(((columns @ best - wanted) ** 2).mean() / 2)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"ssim"}))
@pytest.mark.parametrize("masked", [False, True])
def test_losses_equal_slow_plain_forms(name, masked):
    p, t = shares(0), shares(1)
    valid = shares(2) > 0.3 if masked else torch.ones_like(p, dtype=torch.bool)
    expected = np.mean([plain(name, *(x[k].double().numpy() for x in (p, t)), valid[k].numpy()) for k in range(2)])
    found = LOSSES[name](logit(p), t, valid if masked else None)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(expected, rel=2e-5)


def test_values_by_hand():
    """Shares 3/4 everywhere, truth 1 on the left and 0 on the right half of 2x4 pixels."""
    logits = torch.full((1, 2, 4), math.log(3))
    truth = torch.tensor([[[1.0, 1, 0, 0]] * 2])
    expected = {
        "bce": (math.log(4 / 3) + math.log(4)) / 2,
        "dice": 1 - (2 * 3 + 1) / (6 + 4 + 1),
        "rmse": math.sqrt((1 / 16 + 9 / 16) / 2),
        "l1": 0.5,
        "gradient": 1 / 3,  # one of three steps to the right is 1; none down
        "ssi": 1 / 8,  # no scale helps: what is left is the variance 1/4, halved
    }
    for name, value in expected.items():
        assert float(LOSSES[name](logits, truth, None)) == pytest.approx(value, abs=1e-6), name


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_perfect_map_costs_nothing(name):
    truth = torch.zeros(2, 16, 16)
    truth[:, 3:9, 4:12] = 1
    assert float(LOSSES[name](60 * truth - 30, truth, None)) == pytest.approx(0, abs=1e-5)
    assert float(LOSSES[name](-(60 * truth - 30), truth, None)) > (-1 if name == "ssi" else 0.1)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_pixels_that_do_not_count_change_nothing(name):
    p, t, valid = shares(0), shares(1), shares(2) > 0.4
    valid[1] = False  # an image of which nothing is known
    logits = logit(p).requires_grad_()
    wild = torch.where(valid, logits, 50 * shares(3) - 25)
    loss = LOSSES[name](logits, t, valid)
    assert float(loss.detach()) == float(LOSSES[name](wild.detach(), torch.where(valid, t, shares(4)), valid))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.isfinite().all() and not gradient[~valid].any() and gradient[valid].any()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradients_agree_with_differences(name):
    """Along a random direction; float64 differences of the function itself."""
    p, t = shares(5, (1, 12, 14)), shares(6, (1, 12, 14))
    logits, direction = logit(p).requires_grad_(), torch.randn(1, 12, 14, generator=torch.Generator().manual_seed(7))
    (gradient,) = torch.autograd.grad(LOSSES[name](logits, t, None), logits)
    step = 2e-3
    with torch.no_grad():
        slope = (
            LOSSES[name](logits + step * direction, t, None) - LOSSES[name](logits - step * direction, t, None)
        ) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=0.02, abs=2e-4)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("constant", [-30.0, 0.0, 30.0])
def test_gradients_are_finite_on_constant_maps(name, constant):
    logits = torch.full((1, 16, 16), constant, requires_grad=True)
    for truth in (torch.zeros(1, 16, 16), torch.ones(1, 16, 16)):
        (gradient,) = torch.autograd.grad(LOSSES[name](logits, truth, None), logits)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("size", [(96, 96), (11, 40), (6, 7)])
@pytest.mark.parametrize("contrast", [1.0, 0.02])
def test_ssim_equals_torchmetrics(size, contrast):
    one = shares(0, (3, *size)) * contrast + (1 - contrast)
    two = one**1.2
    found = ssim_map(one, two).mean((1, 2))
    library = structural_similarity_index_measure(
        one[:, None].double(), two[:, None].double(), data_range=1.0, reduction="none"
    )
    torch.testing.assert_close(found.double(), library.double(), rtol=0, atol=1e-6)


def test_ssim_of_every_pixel_and_its_gradient_equal_torchmetrics():
    one, two = shares(0, (2, 30, 41)).requires_grad_(), shares(1, (2, 30, 41))
    _, library = structural_similarity_index_measure(
        one[:, None].double(), two[:, None].double(), data_range=1.0, reduction="none", return_full_image=True
    )
    found = ssim_map(one, two)
    torch.testing.assert_close(found.double(), library[:, 0], rtol=0, atol=2e-6)
    (ours,) = torch.autograd.grad(found.sum(), one)
    (theirs,) = torch.autograd.grad(library.sum(), one)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_ssim_by_hand():
    """Of constants only the first factor is left: (2ab + C1) / (a² + b² + C1)."""
    found = ssim_map(torch.full((1, 20, 20), 0.5), torch.full((1, 20, 20), 0.25))
    assert found.flatten().tolist() == pytest.approx([(0.25 + 1e-4) / (0.3125 + 1e-4)] * 400, abs=1e-6)
    loss = LOSSES["ssim"](torch.zeros(1, 20, 20), torch.full((1, 20, 20), 0.25), None)
    assert float(loss) == pytest.approx((1 - (0.25 + 1e-4) / (0.3125 + 1e-4)) / 2, abs=1e-6)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_does_not_change_ssim(kind):
    """torchmetrics' own exceeds 1 here: variances of bright, flat images lose all digits of half precision."""
    one = 0.85 + 0.1 * shares(0, (1, 64, 64))
    two = one + 0.02 * shares(1, (1, 64, 64))
    with torch.autocast("cpu", kind):
        found = ssim_map(one, two)
        library = structural_similarity_index_measure(one[:, None], two[:, None], data_range=1.0)
    assert found.dtype == torch.float32
    assert torch.equal(found, ssim_map(one, two))
    assert float(library) > 1, "the library holds its digits now: use it"
    rounded = ssim_map(one.to(kind), two.to(kind))
    torch.testing.assert_close(rounded, ssim_map(one.to(kind).float(), two.to(kind).float()), rtol=0, atol=0)


def test_sums_are_read_and_weighted():
    loss = MapLoss("ssim + gradient + 0.1*l1", "depth", "KEY")
    logits, truth = logit(shares(0)), shares(1)
    found = loss(logits, truth)
    assert list(found) == ["loss_depth_ssim", "loss_depth_gradient", "loss_depth_l1"]
    assert float(found["loss_depth_l1"]) == pytest.approx(0.1 * float((shares(0) - truth).abs().mean()), rel=1e-5)
    assert MapLoss("", "depth", "KEY")(logits, truth) == {}
    with pytest.raises(ValueError, match=r"MODEL\.X='bce\+mse': cannot read 'mse'\. Fix: write bce, dice, ssim, rmse"):
        MapLoss("bce+mse", "mask", "MODEL.X")
    with pytest.raises(ValueError, match="do not fit"):
        LOSSES["l1"](logits, truth[:, 1:], None)
