"""The set loss against its plain form and numbers by hand: weights, uncertain points, ignored pixels, the matcher."""

from __future__ import annotations

import math

import pytest
import torch

from tests.plain import criterion as plain
from zsseg_d2.modeling.fcclip.criterion import SetCriterion
from zsseg_d2.modeling.fcclip.matcher import matching_cost, pair_queries
from zsseg_d2.modeling.fcclip.points import uncertain_points
from zsseg_d2.modeling.fcclip.set_losses import class_loss
from zsseg_d2.modeling.fcclip.targets import Prediction, Target


def random_case(seed: int, ignore: bool) -> tuple:
    """Two layers of twelve queries, two images with three and one targets, and their mask features."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*size: int, scale: float = 1.0) -> torch.Tensor:
        return scale * torch.randn(size, generator=generator)

    layers = [[Prediction(noise(12, 5, scale=2), (noise(12, 6),)) for _ in range(2)] for _ in range(2)]
    features, targets = [(noise(6, 8, 12),) for _ in range(2)], []
    for number in (3, 1):
        coarse = noise(1, number + 1, 3, 4)
        owner = torch.nn.functional.interpolate(coarse, (16, 24), mode="bilinear")[0].argmax(0)
        masks = torch.stack([owner == k for k in range(number)])
        labels = torch.randint(0, 4, (number,), generator=generator)
        targets.append(Target(labels, masks, owner == number if ignore else None))
    return layers, features, targets


@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_the_set_loss_is_the_plain_one(seed, ignore):
    """All weights differ, so that no two can be exchanged."""
    settings = plain.Settings(3.0, 7.0, 1.5, 0.25, points=200, oversample=2.0, importance=0.6)
    criterion = SetCriterion(
        class_weight=3.0,
        mask_weight=7.0,
        dice_weight=1.5,
        no_object_weight=0.25,
        num_points=200,
        oversample_ratio=2.0,
        importance_sample_ratio=0.6,
    )
    layers, features, targets = random_case(seed, ignore)
    found = []
    for losses in (criterion, lambda *case: plain.losses(*case, settings)):
        torch.manual_seed(seed)
        found.append(losses(layers, features, targets))
    actual, expected = found
    assert actual.keys() == expected.keys() and len(actual) == 6
    for name, value in expected.items():
        assert float(actual[name]) == pytest.approx(float(value), rel=1e-4), name


def test_matching_costs_by_hand():
    """Two queries, two targets, four points; each of the three weights alone, then together."""
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0]])
    masks = torch.tensor([[3.0, 3.0, -3.0, -3.0], [-1.0, 1.0, 1.0, -1.0]])
    truth = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0]])
    labels = torch.tensor([1, 0])
    terms = [torch.zeros(2, 2) for _ in range(3)]
    for q in range(2):
        for n in range(2):
            e = [math.exp(v) for v in logits[q].tolist()]
            terms[0][q, n] = -e[int(labels[n])] / sum(e)
            p = [1 / (1 + math.exp(-v)) for v in masks[q].tolist()]
            t = truth[n].tolist()
            terms[1][q, n] = -sum(math.log(a if b else 1 - a) for a, b in zip(p, t)) / 4
            terms[2][q, n] = 1 - (2 * sum(a * b for a, b in zip(p, t)) + 1) / (sum(p) + sum(t) + 1)
    for weights in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (2.0, 3.0, 7.0)):
        cost = matching_cost(logits, masks, labels, truth, *weights)
        torch.testing.assert_close(cost, sum(w * term for w, term in zip(weights, terms)))


def test_pairs_minimise_classes_masks_and_dice_by_their_weights():
    """By classes the queries are in order, by masks they are exchanged."""
    logits, masks = torch.eye(2) * 8, torch.tensor([[4.0, -4.0], [-4.0, 4.0]])
    pairs = {
        weights: pair_queries(logits, logits, masks, masks.flip(0), *weights).tolist()
        for weights in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (2.0, 5.0, 5.0))
    }
    assert list(pairs.values()) == [[0, 1], [1, 0], [1, 0], [1, 0]]


def test_points_are_drawn_where_the_mask_is_least_sure():
    """The logit is 0 in the left half and far from 0, on either side, in the right one."""
    masks = torch.zeros(2, 32, 32)
    masks[0, :, 16:], masks[1, :, 16:] = 9.0, -9.0
    torch.manual_seed(0)
    points = uncertain_points(masks, number=100, oversample=4, importance=0.75)
    assert points.shape == (2, 100, 2) and float(points.min()) >= 0 and float(points.max()) <= 1
    assert bool((points[:, :75, 0] < 0.5 + 1 / 64).all())
    others = points[:, 75:, 0]  # anywhere
    assert bool((others.amax(1) > 0.8).all()) and bool((others.amin(1) < 0.2).all())


@pytest.mark.parametrize(("importance", "oversample"), [(0.75, 3.0), (1.0, 1.5), (0.0, 3.0)])
def test_points_are_those_of_the_plain_form(importance, oversample):
    masks = torch.randn(3, 9, 11, generator=torch.Generator().manual_seed(1))
    found = []
    for draw in (uncertain_points, plain.uncertain_points):
        torch.manual_seed(2)
        found.append([sorted(of_mask) for of_mask in draw(masks, 40, oversample, importance).tolist()])
    assert found[0] == found[1]


def test_class_loss_by_hand():
    """Cross-entropies ln 3 of an object and ln(1 + 2e) - 1 of no-object, at weights 1 and 0.1."""
    logits = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    void = math.log(1 + 2 * math.e) - 1
    loss = class_loss(logits, torch.tensor([0, 2]), 0.1)
    assert loss.item() == pytest.approx((math.log(3) + 0.1 * void) / 1.1)
    loss = class_loss(logits, torch.tensor([0, 2]), 0.1, torch.tensor([1.0, 0.5]))
    assert loss.item() == pytest.approx((math.log(3) + 0.05 * void) / 1.05)
    assert class_loss(logits, torch.tensor([0, 2]), 0.1, torch.zeros(2)).item() == 0


def half_ignored(*embeds: tuple[float, float]) -> dict:
    """Losses of queries with even class logits; the target is the left half, the right half is ignored.

    Args:
        embeds: Of each query the mask logits of the left half and of the right one.
    """
    features = torch.zeros(2, 32, 32)
    features[0, :, :16], features[1, :, 16:] = 1, 1
    left = torch.zeros(32, 32, dtype=torch.bool)
    left[:, :16] = True
    target = Target(torch.tensor([1]), left[None], ~left)
    prediction = Prediction(torch.zeros(len(embeds), 3), (torch.tensor(embeds),))
    torch.manual_seed(0)
    return SetCriterion(num_points=400)([[prediction]], [(features,)], [target])


def test_a_matched_query_learns_its_class_even_on_ignored_pixels():
    assert half_ignored((-4.0, 4.0))["loss_ce"].item() == pytest.approx(2 * math.log(3), rel=1e-5)


def test_an_unmatched_query_is_void_unless_most_of_its_mask_is_ignored():
    for other, weight in (((-4.0, 4.0), 0.0), ((-4.0, -4.0), 0.1), ((3.0, -4.0), 0.1)):
        embed, logits = torch.tensor([(4.0, -4.0), other]), torch.tensor([[0.0, 5.0, 0.0], [2.0, 0.0, 0.0]])
        features = torch.zeros(2, 32, 32)
        features[0, :, :16], features[1, :, 16:] = 1, 1
        left = torch.zeros(32, 32, dtype=torch.bool)
        left[:, :16] = True
        target = Target(torch.tensor([1]), left[None], ~left)
        torch.manual_seed(0)
        loss = SetCriterion(num_points=400)([[Prediction(logits, (embed,))]], [(features,)], [target])["loss_ce"]
        object_, void = math.log(math.exp(5) + 2) - 5, math.log(math.exp(2) + 2)
        assert loss.item() == pytest.approx(2 * (object_ + weight * void) / (1 + weight), rel=1e-4)


def test_mask_losses_are_means_over_the_targets_of_all_images(monkeypatch):
    """Features of one value and targets that fill the image: every point has the same logit, so no draw matters.

    Points keep away from the border, outside of which samples are 0.
    """
    rand = torch.rand
    monkeypatch.setattr(torch, "rand", lambda *size, **rest: 0.1 + 0.8 * rand(*size, **rest))
    features, full = torch.ones(1, 8, 8), torch.ones(1, 8, 8, dtype=torch.bool)
    logits = torch.tensor([[9.0, 0.0]])
    layers = [[Prediction(logits, (torch.tensor([[z]]),)) for z in (1.0, -2.0)]]
    targets = [Target(torch.tensor([0]), full) for _ in range(2)]
    losses = SetCriterion(num_points=50)(layers, [(features,)] * 2, targets)
    entropy = [math.log(1 + math.exp(-z)) for z in (1.0, -2.0)]
    p = [1 / (1 + math.exp(-z)) for z in (1.0, -2.0)]
    dice = [1 - (2 * 50 * x + 1) / (50 * x + 50 + 1) for x in p]
    assert losses["loss_mask"].item() == pytest.approx(5 * sum(entropy) / 2, rel=1e-5)
    assert losses["loss_dice"].item() == pytest.approx(5 * sum(dice) / 2, rel=1e-5)
