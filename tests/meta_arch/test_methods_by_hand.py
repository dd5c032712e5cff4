"""What the methods of two models compute, on queries that are written down: pairs, fused losses, distillation."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.tiny import tiny_dataset, tiny_model, training_item
from zsseg_d2.modeling.fcclip.decoder_output import DecoderOutput
from zsseg_d2.modeling.fcclip.interfaces import Queries

TRAIN = tiny_dataset("tiny_train_by_hand", deleted=(2, 3))


def build(architecture: str, *options):
    return tiny_model(architecture, *options, train=TRAIN)


def exchanged_queries():
    """A combined model by the mean, whose second model is the first with its queries in another order."""
    model = build("CombinedFCCLIP", "ZSSEG.FUSION.NAME", "mean", "ZSSEG.FUSION.PAIRING", "hungarian").train()
    state = model.model_one.state_dict()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    for name in ("query_feat", "query_embed"):
        key = f"sem_seg_head.predictor.{name}.weight"
        state[key] = state[key][order]
    model.model_two.load_state_dict(state)
    return model


def test_the_fused_loss_of_exchanged_queries_is_that_of_one_model():
    """Classes and masks of both models are paired: their mean is model one's."""
    model, items = exchanged_queries(), [training_item(classes=(0, 1)), training_item(64, 96, (1,))]
    batch = model.model_one.training_batch(items)
    features, targets = model.clip_features(batch.images, batch.padding), model.model_one.targets(items)
    one, two = (m.predictions(m.decode(features, batch.padding)) for m in (model.model_one, model.model_two))
    layers, fused_features = model._fused(one, two)
    for prediction, alone, of_both, (feature,) in zip(layers[-1], one[0][-1], fused_features, one[1]):
        torch.testing.assert_close(prediction.class_logits, alone.class_logits, rtol=1e-3, atol=1e-3)
        flat = tuple(f.flatten(1) for f in of_both)
        masks = model.fused_mask_logits(prediction.mask_embeds, flat)
        torch.testing.assert_close(masks, alone.mask_embeds[0] @ feature.flatten(1), rtol=1e-3, atol=1e-3)
    torch.manual_seed(3)
    fused = model.model_two.criterion(layers, fused_features, targets, model.fused_mask_logits)
    torch.manual_seed(3)
    alone = model.model_one.criterion(one[0][-1:], one[1], targets)
    for name, value in alone.items():
        assert fused[name].item() == pytest.approx(value.item(), rel=1e-3), name


def test_without_pairing_exchanged_queries_are_fused_as_they_come():
    model = exchanged_queries()
    model.pairing = "index"
    items = [training_item(classes=(0, 1))]
    batch = model.model_one.training_batch(items)
    features = model.clip_features(batch.images, batch.padding)
    one, two = (m.predictions(m.decode(features, batch.padding)) for m in (model.model_one, model.model_two))
    (prediction,) = model._fused(one, two)[0][-1]
    expected = (one[0][-1][0].class_logits + two[0][-1][0].class_logits) / 2
    torch.testing.assert_close(prediction.class_logits, expected)


ROAD, SKY, PERSON, CAR, VOID = range(5)
STUDENT = {SKY: 9.0}, {PERSON: 2.0}  # the student names no Out class in the first query, and one in the second
TEACHER = {VOID: 7.0}, {PERSON: 8.0, CAR: 1.0}  # of the same two objects, the other way round
STUDENT_MASKS, TEACHER_MASKS = (4.0, -4.0), (-3.0, 3.0)


def output(logits: tuple[dict[int, float], ...], masks: tuple[float, ...]) -> DecoderOutput:
    """Two queries of one image; features of one value, so that a mask has one logit everywhere."""
    rows = [[row.get(k, 0.0) for k in range(5)] for row in logits]
    return DecoderOutput([torch.tensor([rows])], [torch.tensor(masks).view(1, 2, 1)], torch.ones(1, 1, 4, 4))


@pytest.fixture
def inner_points(monkeypatch):
    """Points away from the border, outside of which samples are 0."""
    rand = torch.rand
    monkeypatch.setattr(torch, "rand", lambda *size, **rest: 0.2 + 0.6 * rand(*size, **rest))


def distilled(**changes):
    model = build("DistilledFCCLIP")
    model.distillation = replace(model.distillation, **changes)
    return model._distillation_losses(output(STUDENT, STUDENT_MASKS), output(TEACHER, TEACHER_MASKS))


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_class_distillation_by_hand(weight, inner_points):
    """Person and car are deleted: squares of the differences of their logits."""
    by_index = [0.0, 0.0, (2.0 - 8.0) ** 2, (0.0 - 1.0) ** 2]
    paired = [8.0**2, 1.0**2, 2.0**2, 0.0]
    for pairing, squares in (("index", by_index), ("hungarian", paired)):
        losses = distilled(weight=weight, pairing=pairing)
        assert losses.keys() == {"loss_distill"}
        assert losses["loss_distill"].item() == pytest.approx(weight * sum(squares) / 4)


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


@pytest.mark.parametrize("weight", [1.0, 0.5])
@pytest.mark.parametrize(("pairing", "masks"), [("hungarian", (4.0, 3.0)), ("index", (-4.0, 3.0))])
def test_mask_distillation_follows_the_teachers_pick(pairing, masks, weight, inner_points):
    """Of two queries the teacher names person in one; the student names it in the other."""
    student, teacher = masks
    p, t, points = sigmoid(student), sigmoid(teacher), 64
    entropy = -t * math.log(p) - (1 - t) * math.log(1 - p)
    dice = 1 - (2 * points * p * t + 1) / (points * p + points * t + 1)
    losses = distilled(mask_weight=weight, pairing=pairing)
    assert losses["loss_distill_mask"].item() == pytest.approx(weight * (entropy + dice), rel=1e-5)


@pytest.mark.parametrize(("scale", "factor"), [(50.0, 50.0), (99.0, 99.0), (101.0, 100.0), (1e6, 100.0)])
def test_class_logits_are_cosines_times_a_scale_of_at_most_100(scale, factor):
    model = build("FCCLIP").eval()
    vocabulary = model.classes.training.vocabulary
    with torch.no_grad():
        model.sem_seg_head.predictor.logit_scale.fill_(math.log(scale))
        text = model.text_rows(vocabulary)
        embed = 7 * text[None, [0, 1]]  # road and its synonym railroad: the first class, of any length
        logits = model.class_logits(Queries(embed, embed), text, vocabulary)
    assert logits[0, :, 0].tolist() == pytest.approx([factor, factor], rel=1e-5)
    assert float(logits[0, :, 1:].max()) < factor
