"""Matching and losses against recorded values, and by hand."""

from __future__ import annotations

import json
import math

import pytest
import torch

from tests.parity import small_recording
from zsseg_d2.modeling.fcclip import matcher
from zsseg_d2.modeling.fcclip.criterion import SetCriterion
from zsseg_d2.modeling.fcclip.matcher import hungarian, matching_cost
from zsseg_d2.modeling.fcclip.points import sample_points
from zsseg_d2.modeling.fcclip.set_losses import class_loss, mask_losses
from zsseg_d2.modeling.fcclip.targets import Prediction, Target


@pytest.fixture(scope="module")
def record():
    """Predictions, targets and points, with the published assignment and losses."""
    arrays = small_recording("criterion")
    meta = json.loads(bytes(arrays.pop("meta")))
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
    targets = [{"labels": tensors[f"labels/{k}"], "masks": tensors[f"masks/{k}"]} for k in range(2)]
    return {**tensors, **meta, "targets": targets}


def assignment(record: dict) -> list[tuple[torch.Tensor, torch.Tensor]]:
    settings = record["matcher"]
    result = []
    for logits, masks, target in zip(record["pred_logits"], record["pred_masks"], record["targets"]):
        predicted = sample_points(masks[None].float(), record["point_coords"])[0]
        truth = sample_points(target["masks"][None].float(), record["point_coords"])[0]
        weights = settings["cost_class"], settings["cost_mask"], settings["cost_dice"]
        result.append(hungarian(matching_cost(logits, predicted, target["labels"], truth, *weights)))
    return result


def test_assignment_is_the_recorded_one(record):
    for (query, index), (wanted_query, wanted_index) in zip(assignment(record), record["indices"]):
        assert query.tolist() == list(wanted_query)
        assert index.tolist() == list(wanted_index)


def test_losses_are_the_recorded_ones(record):
    masks, truths = [], []
    labels = torch.full(record["pred_logits"].shape[:2], record["pred_logits"].shape[-1] - 1)
    for image, ((query, index), target) in enumerate(zip(assignment(record), record["targets"])):
        labels[image, query] = target["labels"][index]
        masks.append(record["pred_masks"][image][query].float())
        truths.append(target["masks"][index].float())
    points = record["loss_point_coords"]
    logits = sample_points(torch.cat(masks)[:, None], points)[:, 0]
    truth = sample_points(torch.cat(truths)[:, None], points)[:, 0]
    loss_mask, loss_dice = mask_losses(logits, truth, record["num_masks"])
    loss_ce = class_loss(record["pred_logits"].flatten(0, 1), labels.flatten(), record["no_object_weight"])
    for name, value in (("loss_ce", loss_ce), ("loss_mask", loss_mask), ("loss_dice", loss_dice)):
        assert float(value) == pytest.approx(record[name], rel=1e-5)


def _problem(ignore: bool):
    """One image, two queries, one target filling the left half; features are two indicator channels.

    Features and masks have one size, so that a mask changes sign just where the truth does.
    """
    torch.manual_seed(0)
    features = torch.zeros(2, 32, 32)
    features[0, :, :16], features[1, :, 16:] = 1, 1
    masks = torch.zeros(1, 32, 32, dtype=torch.bool)
    masks[:, :, :16] = True
    hidden = torch.zeros(32, 32, dtype=torch.bool)
    hidden[:, 16:] = True
    return features, Target(torch.tensor([1]), masks, hidden if ignore else None)


def _losses(ignore: bool, embed: torch.Tensor, logits: torch.Tensor) -> dict:
    features, target = _problem(ignore)
    criterion = SetCriterion(num_points=256)
    return criterion([[Prediction(logits, (embed,))]], [(features,)], [target])


def test_mask_losses_by_hand():
    logits, truth = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    entropy, dice = mask_losses(logits, truth, num_masks=2)
    assert float(entropy) == pytest.approx(math.log(2) / 2)
    assert float(dice) == pytest.approx((1 - (2 * 0.5 + 1) / (1 + 1 + 1)) / 2)
    entropy, dice = mask_losses(logits, truth, num_masks=1, weight=torch.tensor([[1.0, 0.0]]))
    assert float(entropy) == pytest.approx(math.log(2))
    assert float(dice) == pytest.approx(1 - (2 * 0.5 + 1) / (0.5 + 1 + 1))


def test_a_right_prediction_costs_little_and_a_wrong_one_much():
    embed, logits = (
        torch.tensor([[4.0, -4.0], [-4.0, -4.0]]),
        torch.tensor([[-30.0, 30.0, -30.0], [-30.0, -30.0, 30.0]]),
    )
    right, wrong = _losses(False, embed, logits), _losses(False, embed.flip(-1), logits)
    assert float(right["loss_ce"]) < 1e-6
    for name in ("loss_mask", "loss_dice"):
        assert float(right[name]) < 0.2 * float(wrong[name])


def test_ignored_pixels_take_no_loss_and_teach_no_void():
    logits = torch.tensor([[-30.0, 30.0, -30.0], [30.0, -30.0, -30.0]])
    spill = torch.tensor([[4.0, 4.0], [-4.0, 4.0]])  # query 0 also claims the ignored half, query 1 lies in it
    with_ignore, without = _losses(True, spill, logits), _losses(False, spill, logits)
    # Half of the points are wrong by a logit of 4 at weight 5; soft truth at the borders stays in both.
    assert float(without["loss_mask"]) - float(with_ignore["loss_mask"]) > 0.7 * 5 * 4 / 2
    assert float(with_ignore["loss_ce"]) < 1e-6 < 1 < float(without["loss_ce"])


def test_an_image_without_targets_still_has_gradients():
    features, _ = _problem(False)
    empty = Target(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 32, 32, dtype=torch.bool))
    embed, logits = torch.randn(2, 2, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    losses = SetCriterion(num_points=16)([[Prediction(logits, (embed,))]], [(features,)], [empty])
    sum(losses.values()).backward()
    assert embed.grad is not None and float(logits.grad.abs().sum()) > 0


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("at_a_time", [7, 1000])
def test_mask_cost_is_its_definition(weighted, at_a_time, monkeypatch):
    monkeypatch.setattr(matcher, "_POINTS", at_a_time)
    generator = torch.Generator().manual_seed(1)
    logits, truth = 20 * torch.randn(5, 40, generator=generator), torch.rand(3, 40, generator=generator)
    weight = torch.rand(40, generator=generator) if weighted else None
    w = torch.ones(40) if weight is None else weight
    found = matcher.mask_cost(logits, truth, 2.0, 3.0, weight)
    for q, z in enumerate(logits):
        for n, t in enumerate(truth):
            entropy = (torch.nn.functional.binary_cross_entropy_with_logits(z, t, reduction="none") * w).sum() / w.sum()
            p = z.sigmoid()
            dice = 1 - (2 * (p * t * w).sum() + 1) / ((p * w).sum() + (t * w).sum() + 1)
            assert float(found[q, n]) == pytest.approx(float(2 * entropy + 3 * dice), rel=1e-4)


def test_more_targets_than_queries():
    """Some targets stay without a query; the losses of the others are those of a problem without them."""
    features, target = _problem(False)
    masks = torch.cat((target.masks, torch.zeros(2, 32, 32, dtype=torch.bool)))
    embed, logits = torch.tensor([[4.0, -4.0]]), torch.tensor([[-30.0, 30.0, -30.0]])
    found = []
    first, last = Target(torch.tensor([1, 0, 0]), masks), Target(torch.tensor([0, 0, 1]), masks.flip(0))
    for some in (Target(target.labels, target.masks), first, last):
        torch.manual_seed(0)
        found.append(SetCriterion(num_points=256)([[Prediction(logits, (embed,))]], [(features,)], [some]))
    one, *others = found
    for other in others:
        assert float(other["loss_ce"]) == pytest.approx(float(one["loss_ce"]))
        assert float(other["loss_mask"]) * 3 == pytest.approx(float(one["loss_mask"]))  # a mean over all targets
        assert float(other["loss_dice"]) * 3 == pytest.approx(float(one["loss_dice"]))


def test_hungarian_refuses_nan():
    with pytest.raises(FloatingPointError, match="BASE_LR"):
        hungarian(torch.tensor([[float("nan"), 1.0]]))
