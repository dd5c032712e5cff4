"""Architectures of two models: what they share, what they fuse and merge, what they train and what they do not."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model

from tests.tiny import random_image, seeded_losses, tiny_config, tiny_dataset, tiny_model, training_item
from zsseg_d2.engine.training.solver import parameter_rules
from zsseg_d2.modeling.fusion import FUSIONS
from zsseg_d2.modeling.merging import merge_panoptic

TRAIN = tiny_dataset("tiny_train_methods", deleted=(2, 3))
ITEMS = [training_item(classes=(0, 1)), training_item(96, 96, classes=(1,))]
IMAGES = [{"image": random_image(64, 96, 3), "height": 128, "width": 192}, {"image": random_image(96, 96, 4)}]


def build(architecture: str, *options):
    return tiny_model(architecture, "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", 0.1, *options, train=TRAIN)


def same(one, two) -> bool:
    return (
        torch.equal(one["panoptic_seg"][0], two["panoptic_seg"][0]) and one["panoptic_seg"][1] == two["panoptic_seg"][1]
    )


@pytest.mark.parametrize("architecture", ["CombinedFCCLIP", "DistilledFCCLIP", "NaiveIntersection"])
def test_clip_sees_a_batch_once(architecture):
    model = build(architecture)
    backbone = model.backbone if architecture == "DistilledFCCLIP" else model.model_one.backbone
    calls = []
    backbone.register_forward_hook(lambda *_: calls.append(1))
    batch = [{"image": random_image(64, 96, k)} for k in range(3)]
    model.eval()(batch)
    assert len(calls) == 1
    if architecture != "NaiveIntersection":
        seeded_losses(model, [training_item(classes=(0, 1))] * 2)
        assert len(calls) == 2


def test_combined_adds_the_losses_of_two_models_and_of_their_fusion():
    model = build("CombinedFCCLIP")
    losses = seeded_losses(model, ITEMS)
    names = {k for k in losses if k.startswith("m1_")}
    assert names == {"m1_" + k for k in seeded_losses(model.model_one, ITEMS)}
    assert {k for k in losses if k.startswith("m2_")} == {"m2_" + k[3:] for k in names}
    assert {k for k in losses if k.startswith("com_")} == {"com_loss_ce", "com_loss_mask", "com_loss_dice"}
    # Model one draws its points first, so alone it draws the same.
    for key, value in seeded_losses(model.model_one, ITEMS).items():
        assert losses[f"m1_{key}"].item() == value.item()
    deep = seeded_losses(build("CombinedFCCLIP", "ZSSEG.FUSION.DEEP_SUPERVISION", True), ITEMS)
    assert sum(k.startswith("com_") for k in deep) == len(names)


@pytest.mark.parametrize("name", sorted(FUSIONS.names()))
def test_the_fused_loss_reaches_both_models(name):
    model = build("CombinedFCCLIP", "ZSSEG.FUSION.NAME", name)
    losses = seeded_losses(model, ITEMS)
    sum(v for k, v in losses.items() if k.startswith("com_")).backward()
    for part in (model.model_one, model.model_two):
        gradients = {n: p.grad for n, p in part.named_parameters() if p.grad is not None}
        assert all(g.isfinite().all() for g in gradients.values())
        for piece in ("pixel_decoder.mask_features", "predictor.mask_embed", "predictor.class_embed", "void_embedding"):
            assert any(piece in n and g.abs().sum() > 0 for n, g in gradients.items()), piece


def test_both_models_are_optimised_and_clip_is_not():
    model = build("CombinedFCCLIP")
    rules = {r.name for r in parameter_rules(tiny_config(), model)}
    ones = {n.removeprefix("model_one.") for n in rules if n.startswith("model_one.")}
    assert ones == {n.removeprefix("model_two.") for n in rules if n.startswith("model_two.")}
    assert ones == {n for n, p in model.model_one.named_parameters() if p.requires_grad}
    assert not any("backbone" in n for n in rules)


@pytest.mark.parametrize("pairing", ["index", "hungarian"])
def test_the_mean_of_a_model_with_itself_is_that_model(pairing):
    model = build("CombinedFCCLIP", "ZSSEG.FUSION.NAME", "mean", "ZSSEG.FUSION.PAIRING", pairing).eval()
    model.model_two.load_state_dict(model.model_one.state_dict())
    for fused, alone in zip(model(IMAGES), model.model_one(IMAGES)):
        torch.testing.assert_close(fused["sem_seg"], alone["sem_seg"], atol=1e-4, rtol=1e-4)
        assert (fused["panoptic_seg"][0] != alone["panoptic_seg"][0]).float().mean() < 1e-3


def test_hungarian_pairing_undoes_a_permutation_of_queries():
    model = build("CombinedFCCLIP", "ZSSEG.FUSION.NAME", "mean", "ZSSEG.FUSION.PAIRING", "hungarian").eval()
    state = model.model_one.state_dict()
    order = torch.randperm(
        len(state["sem_seg_head.predictor.query_feat.weight"]), generator=torch.Generator().manual_seed(2)
    )
    for name in ("query_feat", "query_embed"):
        state[f"sem_seg_head.predictor.{name}.weight"] = state[f"sem_seg_head.predictor.{name}.weight"][order]
    model.model_two.load_state_dict(state)
    for fused, alone in zip(model(IMAGES), model.model_one(IMAGES)):
        torch.testing.assert_close(fused["sem_seg"], alone["sem_seg"], atol=1e-3, rtol=1e-3)


def test_prediction_by_one_model():
    for choice, part in (("one", "model_one"), ("two", "model_two")):
        model = build("CombinedFCCLIP", "ZSSEG.FUSION.PREDICTION", choice).eval()
        assert all(same(a, b) for a, b in zip(model(IMAGES), getattr(model, part)(IMAGES)))


def test_naive_intersection_is_the_merge_of_both_maps():
    model = build("NaiveIntersection").eval()
    for merged, one, two in zip(model(IMAGES), model.model_one(IMAGES), model.model_two(IMAGES)):
        expected = merge_panoptic(two["panoptic_seg"], one["panoptic_seg"], (2, 3))
        assert torch.equal(merged["panoptic_seg"][0], expected[0]) and merged["panoptic_seg"][1] == expected[1]
        assert torch.equal(merged["panoptic_seg_of"]["model_one"][0], one["panoptic_seg"][0])
    with pytest.raises(RuntimeError, match="nothing to train"):
        model.train()(ITEMS)


def test_all_that_a_naive_intersection_gives_is_of_the_model_that_its_class_is_taken_from():
    """Semantic scores, their labels and instances: those of Out classes are of model one, the others of model two."""
    train = tiny_dataset("tiny_train_one_thing_deleted", deleted=(1, 2))
    wanted = [f"MODEL.MASK_FORMER.TEST.{key}_ON" for key in ("SEMANTIC", "INSTANCE")]
    model = tiny_model("NaiveIntersection", wanted[0], True, wanted[1], True, train=train).eval()
    images = [{**image, "semantic_labels": True} for image in IMAGES]
    out = torch.tensor([False, True, True, False])
    for found, one, two in zip(model(images), model.model_one(images), model.model_two(images)):
        expected = torch.where(out[:, None, None], one["sem_seg"], two["sem_seg"])
        torch.testing.assert_close(found["sem_seg"], expected, atol=1e-5, rtol=1e-5)
        assert (expected - two["sem_seg"]).abs().max() > 1e-2, "the models differ"
        assert (found["semantic_labels"] != expected.argmax(0)).float().mean() < 1e-3
        assert (found["semantic_labels"] != two["sem_seg"].argmax(0)).any()
        for label, of in ((2, one), (3, two)):
            mine, theirs = (r["instances"][r["instances"].pred_classes == label] for r in (found, of))
            (a, b), (c, d) = (r.scores.sort() for r in (mine, theirs))
            assert len(a) == len(c) > 1
            torch.testing.assert_close(a, c, atol=1e-6, rtol=1e-5)
            assert torch.equal(mine.pred_masks[b].sum((1, 2)), theirs.pred_masks[d].sum((1, 2)))
        assert set(found["instances"].pred_classes.tolist()) == {2, 3}, "things alone"
    encoded = model([{**images[0], "encode_masks": lambda masks: [m.sum().item() for m in masks]}])[0]["instances"]
    assert len(encoded.encoded_masks) == len(encoded) > 1


def test_of_both_models_as_many_instances_are_kept_as_of_one():
    options = ("MODEL.MASK_FORMER.TEST.INSTANCE_ON", True, "TEST.DETECTIONS_PER_IMAGE", 5)
    (found,) = tiny_model("NaiveIntersection", *options).eval()(IMAGES[:1])
    assert len(found["instances"]) <= 5


@pytest.mark.parametrize("options", [(), ("ZSSEG.DISTILLATION.LOSS", "kl"), ("ZSSEG.DISTILLATION.CLASSES", "all")])
def test_a_student_equal_to_its_teacher_has_nothing_to_learn_from_it(options):
    model = build("DistilledFCCLIP", *options)
    model.teacher.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("teacher.")})
    losses = seeded_losses(model, ITEMS)
    assert losses.pop("loss_distill").item() == pytest.approx(0, abs=1e-5)
    alone = seeded_losses(build("FCCLIP"), ITEMS)
    assert {k: v.item() for k, v in losses.items()} == {k: v.item() for k, v in alone.items()}


@pytest.mark.parametrize("pairing", ["index", "hungarian"])
def test_the_teacher_teaches_and_stays_as_it_is(pairing):
    model = build("DistilledFCCLIP", "ZSSEG.DISTILLATION.MASK_WEIGHT", 1.0, "ZSSEG.DISTILLATION.PAIRING", pairing)
    before = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    losses = seeded_losses(model, ITEMS)
    (losses["loss_distill"] + losses["loss_distill_mask"]).backward()
    assert model.sem_seg_head.predictor.class_embed.layers[0].weight.grad.abs().sum() > 0
    assert not model.teacher.training and all(p.grad is None for p in model.teacher.parameters())
    torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.1).step()
    assert all(torch.equal(v, before[k]) for k, v in model.teacher.state_dict().items())
    assert not any(r.name.startswith("teacher.") for r in parameter_rules(tiny_config(), model))


def test_an_untrained_teacher_needs_deleted_classes():
    with pytest.raises(ValueError, match="deletes no class"):
        build_model(tiny_config("MODEL.META_ARCHITECTURE", "DistilledFCCLIP"))
    build_model(tiny_config("MODEL.META_ARCHITECTURE", "DistilledFCCLIP", "ZSSEG.DISTILLATION.CLASSES", "all"))


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("CombinedFCCLIP", ()),
        ("CombinedFCCLIP", ("ZSSEG.FUSION.NAME", "softmax_threshold", "ZSSEG.FUSION.PAIRING", "hungarian")),
        ("DistilledFCCLIP", ("ZSSEG.DISTILLATION.LOSS", "kl", "ZSSEG.DISTILLATION.MASK_WEIGHT", 1.0)),
    ],
)
def test_mixed_precision_gives_nearly_the_same_losses(architecture, options):
    model = build(architecture, *options)
    exact = {k: v.item() for k, v in seeded_losses(model, ITEMS).items()}
    with torch.autocast("cpu", torch.bfloat16):
        mixed = seeded_losses(model, ITEMS)
    sum(mixed.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    for name, value in exact.items():
        assert mixed[name].dtype == torch.float32
        assert mixed[name].item() == pytest.approx(value, rel=0.15, abs=0.1), name


@pytest.mark.parametrize("architecture", ["CombinedFCCLIP", "DistilledFCCLIP"])
def test_sums_over_points_stay_within_half_precision(architecture):
    """With large mask logits the sums of matching are beyond 65504; float16 would make the cost infinite."""
    pairing = ("ZSSEG.FUSION.PAIRING", "hungarian", "ZSSEG.DISTILLATION.PAIRING", "hungarian")
    model = build(architecture, *pairing, "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", 12544)
    models = (model.model_one, model.model_two) if architecture == "CombinedFCCLIP" else (model, model.teacher)
    with torch.no_grad():
        for part in models:
            part.sem_seg_head.predictor.mask_embed.layers[-1].weight.mul_(100)
    with torch.autocast("cpu", torch.float16):
        losses = seeded_losses(model, ITEMS)
    assert all(v.isfinite() for v in losses.values())


TAUGHT = ("ZSSEG.FUSION.MEAN_TEACHER", True, "ZSSEG.PSEUDO_LABELS.MIN_VISIBLE", 0.02)


def test_with_a_mean_teacher_all_three_losses_learn_what_it_names(monkeypatch):
    """Model one's are those of its mean teacher alone; other targets change them, model two's and the fusion's."""
    model = build("CombinedFCCLIP", *TAUGHT)
    losses = seeded_losses(model, ITEMS)
    alone = seeded_losses(model.model_one, ITEMS)
    assert {k: v.item() for k, v in losses.items() if k.startswith("m1_")} == {
        f"m1_{k}": v.item() for k, v in alone.items()
    }
    one, lesson = model.model_one, model.model_one.lesson
    other = [training_item(classes=(1, 0)), training_item(96, 96, classes=(0,))]

    def of_other_labels(items):
        features, padding, _ = lesson(items)
        return features, padding, one.taught_targets(other, features, padding)

    monkeypatch.setattr(one, "lesson", of_other_labels)
    others = seeded_losses(model, ITEMS)
    for part in ("m1_", "m2_", "com_"):
        assert any(others[k].item() != v.item() for k, v in losses.items() if k.startswith(part)), part


def test_with_a_mean_teacher_the_average_moves_and_predicts():
    model = build("CombinedFCCLIP", *TAUGHT, "ZSSEG.MEAN_TEACHER.MOMENTUM", 0.75, "ZSSEG.FUSION.PREDICTION", "one")
    one = model.model_one
    with torch.no_grad():
        one.void_embedding.weight.fill_(8.0)
        one.teacher.void_embedding.weight.fill_(4.0)
    model.after_step()
    assert one.teacher.void_embedding.weight.unique().tolist() == [5.0]
    with torch.no_grad():
        one.sem_seg_head.predictor.query_feat.weight.normal_()  # the student goes elsewhere
    found, of_teacher, of_student = (
        m.eval()(IMAGES) for m in (model, one.teacher, one.with_shared_backbone(one.sem_seg_head))
    )
    assert all(same(a, b) for a, b in zip(found, of_teacher)) and not all(same(a, b) for a, b in zip(found, of_student))
    model.prediction = "fused"
    fused = model(IMAGES)
    with torch.no_grad():
        one.sem_seg_head.predictor.query_feat.weight.normal_()
    assert all(same(a, b) for a, b in zip(model(IMAGES), fused)), "the student takes no part"
