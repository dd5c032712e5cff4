"""A teacher's doubt: moving averages, chosen queries, weights of queries and pixels; numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from zsseg_d2.modeling.averaging import move_average
from zsseg_d2.modeling.fcclip.criterion import SetCriterion
from zsseg_d2.modeling.fcclip.set_losses import class_loss, mask_losses
from zsseg_d2.modeling.fcclip.targets import Doubt, Prediction, Target
from zsseg_d2.modeling.teaching import TeachingSettings, free_share, teach, with_taught

ROAD, SKY, PERSON, CAR, VOID = range(5)
OUT = (PERSON, CAR)
LOOSE = TeachingSettings(min_area=1, min_visible=0.5)


def test_a_moving_average_by_hand():
    """From 4 towards 8 with momentum 3/4: 5, then 5.75; the shared parameter stays."""
    shared = nn.Linear(1, 1, bias=False)
    average, current = (nn.ModuleDict({"own": nn.Linear(1, 1, bias=False), "clip": shared}) for _ in range(2))
    with torch.no_grad():
        average["own"].weight.fill_(4.0)
        current["own"].weight.fill_(8.0)
        shared.weight.fill_(3.0)
    for expected in (5.0, 5.75):
        move_average(average, current, 0.75)
        assert average["own"].weight.item() == expected
    assert shared.weight.item() == 3.0 and current["own"].weight.item() == 8.0
    move_average(average, current, 1.0)
    assert average["own"].weight.item() == 5.75
    move_average(average, current, 0.0)
    assert average["own"].weight.item() == 8.0


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def log_probabilities(*rows: dict[int, float]) -> torch.Tensor:
    """Rows of class probabilities; what is left of 1 is void's."""
    table = torch.zeros(len(rows), 5)
    for line, row in zip(table, rows):
        for k, p in row.items():
            line[k] = p
        line[VOID] = 1 - sum(row.values())
    return (table + 1e-12).log()


def masks(*rows: tuple[float, ...]) -> torch.Tensor:
    """(Q, 1, 4) logits of mask probabilities of four pixels in a line."""
    return torch.tensor([[[logit(p) for p in row]] for row in rows])


def test_what_a_teacher_names_by_hand():
    """Four pixels; the last has a kept label. Car wins the first two, a doubtful person the third, road none."""
    scores = log_probabilities({CAR: 0.6, PERSON: 0.2}, {PERSON: 0.5, ROAD: 0.1}, {ROAD: 0.8})
    inside = masks((0.9, 0.8, 0.3, 0.9), (0.2, 0.1, 0.75, 0.1), (0.05, 0.05, 0.05, 0.4))
    free = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    found = teach(scores, inside, free, OUT, LOOSE)
    assert found.classes.tolist() == [
        pytest.approx([0, 0, 0.2, 0.6, 0.2], abs=1e-6),
        pytest.approx([0.1, 0, 0.5, 0, 0.4], abs=1e-6),
    ]
    # Mean mask probability inside the mask: (0.9 + 0.8 + 0.9) / 3 of the car, 0.75 of the person.
    assert found.confidence.tolist() == pytest.approx([0.6 * 2.6 / 3, 0.5 * 0.75])
    # Products: car .54 .48 .18 .54, person .1 .05 .375 .05, road .04 .04 .04 .32: winners car, car, person, (car).
    assert found.masks[:, 0].tolist() == [pytest.approx([0.9, 0.8, 0, 0]), pytest.approx([0, 0, 0.75, 0])]
    # |2p - 1| of the winner; the kept label is certain.
    for line in found.pixels[:, 0].tolist():
        assert line == pytest.approx([0.8, 0.6, 0.5, 1.0])
    assert found.evidence.tolist() == [pytest.approx([0, 0, 0, 0])]


def test_queries_that_become_no_target_leave_evidence():
    """The person's mask is mostly on a kept label; the car is too unsure; both are evidence where they are free."""
    scores = log_probabilities({PERSON: 0.9}, {CAR: 0.3}, {SKY: 0.95})
    inside = masks((0.6, 0.9, 0.9, 0.9), (0.8, 0.1, 0.1, 0.1), (0.1, 0.1, 0.1, 0.1))
    free = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    strict = TeachingSettings(min_area=1, min_visible=0.5, min_confidence=0.5)
    found = teach(scores, inside, free, OUT, strict)
    assert len(found.classes) == len(found.confidence) == 0 and found.masks.shape == (0, 1, 4)
    assert found.evidence.tolist() == [pytest.approx([max(0.9 * 0.6, 0.3 * 0.8), 0, 0, 0])]


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        (LOOSE, 1),
        (TeachingSettings(min_area=3, min_visible=0.5), 0),  # it wins two pixels
        (TeachingSettings(min_area=1, min_visible=0.7), 0),  # of the three of its mask
        (TeachingSettings(min_area=1, min_visible=0.5, min_confidence=0.53), 0),
        (TeachingSettings(min_area=1, min_visible=0.5, min_confidence=0.51), 1),
    ],
)
def test_thresholds(settings, count):
    scores = log_probabilities({CAR: 0.6}, {ROAD: 0.9})
    inside = masks((0.9, 0.8, 0.9, 0.1), (0.1, 0.1, 0.9, 0.1))  # confidence 0.6 · 2.6 / 3 = 0.52
    assert len(teach(scores, inside, torch.ones(1, 4), OUT, settings).classes) == count


def test_a_query_that_is_probably_void_is_no_target():
    found = teach(log_probabilities({CAR: 0.4}), masks((0.9, 0.9, 0.9, 0.9)), torch.ones(1, 4), OUT, LOOSE)
    assert len(found.classes) == 0 and found.evidence.tolist() == [pytest.approx([0.36] * 4)]


def test_cells_are_free_by_their_share():
    kept = torch.zeros(1, 4, 8, dtype=torch.bool)
    kept[:, :, :2] = True
    ignore = torch.zeros(4, 8, dtype=torch.bool)
    ignore[:2, 4:] = True
    assert free_share(Target(torch.tensor([0]), kept), (1, 2)).tolist() == [[0.5, 1.0]]
    assert free_share(Target(torch.tensor([0]), kept, ignore), (1, 2)).tolist() == [[0.5, 0.5]]
    assert free_share(Target(torch.tensor([], dtype=torch.int64), kept[:0]), (1, 2)).tolist() == [[1.0, 1.0]]


def test_ground_truth_stays_certain_beside_what_is_taught():
    truth = Target(torch.tensor([SKY]), torch.tensor([[[True, True, False, False]]]))
    scores, inside = log_probabilities({CAR: 0.5, PERSON: 0.25}), masks((0.1, 0.1, 0.9, 0.8))
    found = with_taught(truth, teach(scores, inside, free_share(truth, (1, 4)), OUT, LOOSE), 5, weight=2.0)
    assert found.labels.tolist() == [SKY, CAR]
    assert found.masks[:, 0].tolist() == [[1, 1, 0, 0], pytest.approx([0, 0, 0.9, 0.8])]
    doubt = found.doubt
    assert doubt.classes.tolist() == [[0, 1, 0, 0, 0], pytest.approx([0, 0, 0.25, 0.5, 0.25], abs=1e-6)]
    assert doubt.weights.tolist() == pytest.approx([1.0, 2 * 0.5 * 0.85])
    assert doubt.pixels[:, 0].tolist() == [[1, 1, 1, 1], pytest.approx([1, 1, 0.8, 0.6])]
    assert doubt.void.tolist() == [pytest.approx([1, 1, 1, 1])]


def test_soft_cross_entropy_by_hand():
    """Of one certain and one doubtful query with equal logits: -log(1/3) each, however the classes are divided."""
    logits = torch.log(torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.6, 0.3]]))
    classes = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.5, 0.25]])
    weight = torch.tensor([1.0, 0.5])
    loss = class_loss(logits, torch.tensor([0, 1]), 0.1, weight, classes)
    second = -(0.25 * math.log(0.1) + 0.5 * math.log(0.6) + 0.25 * math.log(0.3))
    assert loss.item() == pytest.approx((-math.log(0.2) + 0.5 * second) / 1.5)


def test_weights_of_masks_and_pixels_by_hand():
    """Two masks of two points: probabilities 1/2 everywhere, targets 1 and 0.3, weights of points (1, 0) and (1, 1)."""
    logits, targets = torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [0.3, 0.3]])
    points, of_masks = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([1.0, 0.25])
    entropy, dice = mask_losses(logits, targets, 2.0, points, of_masks)
    assert entropy.item() == pytest.approx(math.log(2) * (1 + 0.25) / 2)
    first, second = 1 - (2 * 0.5 + 1) / (0.5 + 1 + 1), 1 - (2 * 0.3 + 1) / (1 + 0.6 + 1)
    assert dice.item() == pytest.approx((first + 0.25 * second) / 2)


def criterion_losses(target: Target):
    """One query on each half of an image, both certain of car; class weight 2."""
    embeds = torch.tensor([[8.0, 0.0], [0.0, 8.0]])
    features = torch.zeros(2, 4, 8)
    features[0, :, :4], features[0, :, 4:], features[1, :, :4], features[1, :, 4:] = 1, -1, -1, 1
    logits = torch.log(torch.tensor([[0.1, 0.1, 0.1, 0.6, 0.1]] * 2))
    torch.manual_seed(0)
    return SetCriterion(num_points=400)([[Prediction(logits, (embeds,))]], [(features,)], [target])


def half(left: bool) -> torch.Tensor:
    mask = torch.zeros(1, 16, 32)
    mask[..., :16] = left
    mask[..., 16:] = not left
    return mask


def test_an_unmatched_query_is_void_as_far_as_that_is_sure():
    """Left is a car by ground truth; on the right the teacher has evidence 0.75, so no-object weighs a quarter."""
    certain = Doubt(torch.eye(5)[[CAR]], torch.ones(1), torch.ones(1, 16, 32), torch.ones(16, 32))
    void = torch.where(half(True)[0] > 0, 1.0, 0.25)
    doubtful = Doubt(certain.classes, certain.weights, certain.pixels, void)
    matched, unmatched = -math.log(0.6), -math.log(0.1)
    for doubt, weight in ((None, 0.1), (certain, 0.1), (doubtful, 0.025)):
        target = Target(torch.tensor([CAR]), half(True) if doubt else half(True).bool(), None, doubt)
        expected = 2 * (matched + weight * unmatched) / (1 + weight)
        assert criterion_losses(target)["loss_ce"].item() == pytest.approx(expected, rel=1e-4)


def test_certain_doubt_changes_nothing():
    target = Target(torch.tensor([CAR]), half(True).bool())
    certain = Doubt(torch.eye(5)[[CAR]], torch.ones(1), torch.ones(1, 16, 32), torch.ones(16, 32))
    plain, soft = criterion_losses(target), criterion_losses(Target(target.labels, target.masks, None, certain))
    assert {k: v.item() for k, v in soft.items()} == pytest.approx({k: v.item() for k, v in plain.items()})


def test_losses_of_a_target_are_scaled_by_its_weight():
    """Two targets, of which one weighs a quarter, count as 1.25."""
    wrong = Doubt(torch.eye(5)[[CAR, SKY]], torch.tensor([1.0, 0.25]), torch.ones(2, 16, 32), torch.ones(16, 32))
    found = criterion_losses(Target(torch.tensor([CAR, SKY]), torch.cat((half(True), half(False))), None, wrong))
    assert found["loss_ce"].item() == pytest.approx(2 * (-math.log(0.6) - 0.25 * math.log(0.1)) / 1.25)
    certain = Target(torch.tensor([CAR]), half(True).bool())
    doubtful = Target(torch.tensor([CAR, SKY]), torch.cat((half(True), half(False))), None, wrong)
    assert SetCriterion._num_masks([doubtful]) == 1.25 and SetCriterion._num_masks([doubtful, certain]) == 2.25


def test_images_with_other_classes_share_a_batch():
    """An image of two classes beside one of four: each has the loss that it has alone."""
    embeds, features = torch.tensor([[8.0]]), torch.ones(1, 4, 8)
    targets, predictions = [], []
    for probabilities, label in (([0.5, 0.3, 0.2], 1), ([0.1, 0.2, 0.3, 0.1, 0.3], 2)):
        predictions.append(Prediction(torch.log(torch.tensor([probabilities])), (embeds,)))
        targets.append(Target(torch.tensor([label]), torch.ones(1, 16, 32, dtype=torch.bool)))
    criterion = SetCriterion(num_points=50)
    both = criterion([predictions], [(features,)] * 2, targets)["loss_ce"]
    assert both.item() == pytest.approx(2 * (-math.log(0.3) - math.log(0.3)) / 2)
    empty = Target(torch.tensor([], dtype=torch.int64), torch.zeros(0, 16, 32, dtype=torch.bool))
    unmatched = criterion([predictions], [(features,)] * 2, [empty, targets[1]])["loss_ce"]
    assert unmatched.item() == pytest.approx(2 * (-0.1 * math.log(0.2) - math.log(0.3)) / 1.1)
