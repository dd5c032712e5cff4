"""Losses of mask logits, by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from zsseg_d2.modeling.referring.mask_losses import MaskLoss, bce_loss, dice_loss, focal_loss, parse_loss

ZERO_ONE = torch.tensor([[[0.0, 0.0], [0.0, 0.0]]]), torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])


def noise(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(2, 5, 7, generator=generator), torch.rand(2, 5, 7, generator=generator) < 0.3


def test_by_hand():
    logits, targets = ZERO_ONE
    assert bce_loss(logits, targets).item() == pytest.approx(math.log(2))
    assert dice_loss(logits, targets).item() == pytest.approx(1 - (2 * 0.5 + 1) / (2 + 1 + 1))
    assert focal_loss(logits, targets).item() == pytest.approx(0.25 * math.log(2))
    assert focal_loss(logits, targets, alpha=0.25).item() == pytest.approx(0.25 * math.log(2) * (0.25 + 3 * 0.75) / 4)


def test_bce_is_pytorchs():
    logits, targets = noise()
    assert torch.allclose(bce_loss(logits, targets), F.binary_cross_entropy_with_logits(logits, targets.float()))


@pytest.mark.parametrize("kind", ["some", "empty", "full"])
def test_all_reach_0_on_a_perfect_mask(kind):
    targets = {"some": noise()[1], "empty": torch.zeros(2, 5, 7), "full": torch.ones(2, 5, 7)}[kind]
    logits = 200 * (targets.float() - 0.5)
    for loss in (bce_loss, dice_loss, focal_loss):
        assert loss(logits, targets).item() == pytest.approx(0, abs=1e-6)
        assert loss(-logits, targets).item() > 0.9


def test_focal_without_focus_is_bce_and_so_is_its_gradient():
    logits, targets = noise()
    logits[0, 0, :2] = torch.tensor([200.0, -200.0])
    gradients = []
    for loss in (bce_loss, lambda x, t: focal_loss(x, t, gamma=0)):
        leaf = logits.clone().requires_grad_()
        value = loss(leaf, targets)
        value.backward()
        gradients.append((value.detach(), leaf.grad))
    assert torch.allclose(gradients[0][0], gradients[1][0]) and torch.allclose(gradients[0][1], gradients[1][1])


@pytest.mark.parametrize("terms", ["bce", "dice", "focal"])
@pytest.mark.parametrize("gamma", [1.0, 2.0, 2.5])
def test_gradients_stay_finite_at_sure_pixels(terms, gamma):
    logits = torch.tensor([[[200.0, -200.0, 200.0, -200.0]]], requires_grad=True)
    sum(MaskLoss(terms, gamma=gamma)(logits, torch.tensor([[[1.0, 0.0, 0.0, 1.0]]])).values()).backward()
    assert torch.isfinite(logits.grad).all()


def test_what_is_not_valid_does_not_count():
    logits, targets = noise()
    valid = torch.rand(2, 5, 7) < 0.6
    other = torch.where(valid, logits, -logits)
    for loss in (bce_loss, dice_loss, focal_loss):
        assert torch.equal(loss(logits, targets, valid), loss(other, targets, valid))
        nothing = loss(logits, targets, torch.zeros_like(valid))
        assert nothing.item() == 0
        padded = [F.pad(x, (0, 3)) for x in (logits, targets, torch.ones_like(valid))]
        assert torch.allclose(loss(*padded), loss(logits, targets))


def test_images_count_alike():
    (logits, targets), valid = noise(), torch.ones(2, 5, 7, dtype=torch.bool)
    valid[1, 1:] = False
    for loss in (bce_loss, dice_loss, focal_loss):
        alone = [loss(logits[i : i + 1], targets[i : i + 1], valid[i : i + 1]) for i in (0, 1)]
        assert torch.allclose(loss(logits, targets, valid), sum(alone) / 2)


def test_sums_by_name():
    logits, targets = noise()
    losses = MaskLoss("bce + 0.5*dice+2e-1 * focal", gamma=3.0, alpha=0.25)(logits, targets)
    assert list(losses) == ["loss_bce", "loss_dice", "loss_focal"]
    assert torch.allclose(losses["loss_bce"], bce_loss(logits, targets))
    assert torch.allclose(losses["loss_dice"], 0.5 * dice_loss(logits, targets))
    assert torch.allclose(losses["loss_focal"], 0.2 * focal_loss(logits, targets, gamma=3.0, alpha=0.25))
    assert list(MaskLoss()(logits, targets)) == ["loss_bce", "loss_dice"]


@pytest.mark.parametrize(
    "text", ["", "bce+", "iou", "bce+bce", "x*bce", "0*bce", "-1*dice", "inf*dice", "nan*dice", "bce*2"]
)
def test_other_names_are_refused(text):
    with pytest.raises(ValueError, match="write bce, dice, focal"):
        parse_loss(text)


def test_wrong_shapes_and_gammas_are_refused():
    logits, targets = noise()
    with pytest.raises(ValueError, match=r"\(2, 5, 6\) do not fit logits of \(2, 5, 7\)"):
        bce_loss(logits, targets[..., :6])
    with pytest.raises(ValueError, match=r"\(1, 5, 7\) do not fit"):
        dice_loss(logits, targets, targets[:1])
    with pytest.raises(ValueError, match="gamma of 0 or at least 1"):
        focal_loss(logits, targets, gamma=0.5)


def test_half_precision_is_computed_in_single():
    logits, targets = noise()
    for loss in (bce_loss, dice_loss, focal_loss):
        value = loss(logits.bfloat16(), targets)
        assert value.dtype == torch.float32 and torch.allclose(value, loss(logits.bfloat16().float(), targets))
