"""The mean teacher: it starts as the student, follows it, sees the weak view, and labels deleted classes alone."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.tiny import (
    name_in_every_query,
    random_image,
    seeded_losses,
    tiny_config,
    tiny_dataset,
    tiny_model,
    training_item,
)
from zsseg_d2.engine.checkpoints.checkpointer import ZssegCheckpointer
from zsseg_d2.engine.training.solver import parameter_rules
from zsseg_d2.meta_arch.mean_teacher import strong_view

TRAIN = tiny_dataset("tiny_train_mean_teacher", deleted=(2, 3))
ITEMS = [training_item(classes=(0, 1)), training_item(96, 96, classes=(1,))]
M = "ZSSEG.MEAN_TEACHER."


def build(*options, architecture="MeanTeacherFCCLIP"):
    return tiny_model(architecture, "ZSSEG.PSEUDO_LABELS.MIN_VISIBLE", 0.02, *options, train=TRAIN)


def naming_cars(model):
    name_in_every_query(model.teacher, "car")
    return model


def own(state):
    return {k: v for k, v in state.items() if not k.startswith("teacher.") and "clip_model" not in k}


def test_both_start_alike_and_the_teacher_follows_by_hand():
    model = build(M + "MOMENTUM", 0.75)
    student, teacher = own(model.state_dict()), own(model.teacher.state_dict())
    assert student.keys() == teacher.keys() and all(torch.equal(v, student[k]) for k, v in teacher.items())
    plain = own(build(architecture="FCCLIP").state_dict())
    assert all(torch.equal(v, plain[k]) for k, v in student.items()), "a seed gives the student what it has alone"
    with torch.no_grad():
        model.void_embedding.weight.fill_(8.0)
        model.teacher.void_embedding.weight.fill_(4.0)
    model.after_step()
    assert model.teacher.void_embedding.weight.unique().tolist() == [5.0]
    assert model.void_embedding.weight.unique().tolist() == [8.0]


def test_the_teacher_is_neither_trained_nor_in_training_mode():
    model = naming_cars(build(M + "ENSEMBLE", False))
    losses = seeded_losses(model, ITEMS)
    sum(losses.values()).backward()
    assert not model.teacher.training and all(p.grad is None for p in model.teacher.parameters())
    assert model.sem_seg_head.predictor.class_embed.layers[0].weight.grad.abs().sum() > 0
    rules = {r.name for r in parameter_rules(tiny_config(), model)}
    assert not any(name.startswith(("teacher.", "backbone.")) for name in rules)
    assert rules == {n for n, p in build(architecture="FCCLIP").named_parameters() if p.requires_grad}


def taught(model, items=ITEMS):
    batch = model.training_batch(items)
    return model.taught_targets(items, model.clip_features(batch.images, batch.padding), batch.padding)


def test_what_is_taught_stands_behind_the_ground_truth_and_not_on_it():
    """ITEMS label everything, so nothing is taught there; without the second stripe it is."""
    model = naming_cars(build(M + "ENSEMBLE", False))
    for target, truth in zip(taught(model), model.targets(ITEMS)):
        assert target.labels.tolist() == truth.labels.tolist() and bool((target.doubt.void == 1).all())
    half = copy.deepcopy(ITEMS[0])
    half["instances"] = half["instances"][:1]
    (target,) = taught(model, [half])
    assert target.labels[0] == 0 and len(target.labels) > 1 and set(target.labels[1:].tolist()) == {3}
    assert torch.equal(target.masks[0], half["instances"].gt_masks[0].float())
    assert not target.masks[1:, :, :46].any() and target.masks[1:].max() > 0.5, "beyond the kept stripe"
    assert bool((target.doubt.weights[1:] > 0.3).all()) and target.doubt.weights[0] == 1
    assert bool((target.doubt.classes[1:].argmax(-1) == 3).all())


def test_an_image_is_taught_the_same_beside_a_larger_one():
    model = naming_cars(build(M + "ENSEMBLE", True))
    small = copy.deepcopy(ITEMS[0])
    small["instances"] = small["instances"][:1]
    alone, beside = taught(model, [small])[0], taught(model, [small, training_item(128, 160, classes=(1,))])[0]
    assert alone.labels.tolist() == beside.labels.tolist() and len(alone.labels) > 1
    for one, two in ((alone.masks, beside.masks), (alone.doubt.weights, beside.doubt.weights)):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(alone.doubt.void, beside.doubt.void, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("strength", "calls"), [(0.0, 1), (1.0, 2)])
def test_clip_sees_each_view_once(strength, calls):
    model, seen = build(M + "STRENGTH", strength), []
    model.backbone.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    seeded_losses(model, [ITEMS[0]])
    assert len(seen) == calls
    torch.testing.assert_close(seen[0], model.training_batch([ITEMS[0]]).images)
    assert calls == 1 or not torch.allclose(seen[0], seen[1])


def test_a_strong_view_follows_torchs_seed_and_moves_nothing():
    image = random_image(48, 64)
    assert torch.equal(strong_view(0.0)(image), image)
    views = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        views.append(strong_view(1.0)(image))
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])
    assert views[0].shape == image.shape and views[0].dtype == torch.uint8
    bright = torch.zeros(3, 48, 64, dtype=torch.uint8)
    bright[:, :, 32:] = 255
    torch.manual_seed(3)
    view = strong_view(1.0)(bright).float().mean((0, 1))
    assert view[:28].max() < view[36:].min(), "left is left"


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (3, 3)])
def test_a_strong_view_of_a_tiny_image(size):
    """The blur reflects two pixels beyond the border; one of seven seeds or more draws it."""
    image = random_image(*size)
    for seed in range(8):
        torch.manual_seed(seed)
        assert strong_view(1.0)(image).shape == image.shape


def test_weights_of_data_parallel_start_both(tmp_path):
    plain = build(architecture="FCCLIP")
    torch.save({"model": {f"module.{k}": v + 1 for k, v in own(plain.state_dict()).items()}}, tmp_path / "a.pth")
    model = build()
    ZssegCheckpointer(model).load(str(tmp_path / "a.pth"))
    for part in (model, model.teacher):
        assert torch.equal(part.void_embedding.weight, plain.void_embedding.weight + 1)


def test_teacher_or_student_predicts():
    images = [{"image": random_image(64, 96, 3)}]
    for choice in ("teacher", "student"):
        model = build(M + "PREDICTION", choice).eval()
        with torch.no_grad():
            for parameter in model.teacher.sem_seg_head.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        alone = build(architecture="FCCLIP").eval()
        found, of_student = model(images)[0]["sem_seg"], alone(images)[0]["sem_seg"]
        expected = of_student if choice == "student" else model.teacher(images)[0]["sem_seg"]
        assert torch.equal(found, expected) and torch.equal(found, of_student) == (choice == "student")


def test_a_file_of_one_model_starts_both_and_a_file_of_both_starts_each(tmp_path):
    plain = build(architecture="FCCLIP")
    with torch.no_grad():
        plain.void_embedding.weight.fill_(2.0)
    torch.save({"model": plain.state_dict()}, tmp_path / "plain.pth")
    model = build()
    ZssegCheckpointer(model).load(str(tmp_path / "plain.pth"))
    assert model.teacher.void_embedding.weight.unique().tolist() == [2.0]
    with torch.no_grad():
        model.teacher.void_embedding.weight.fill_(3.0)
    ZssegCheckpointer(model, str(tmp_path)).save("both")
    again = build()
    ZssegCheckpointer(again).load(str(tmp_path / "both.pth"))
    assert again.teacher.void_embedding.weight.unique().tolist() == [3.0]
    assert again.void_embedding.weight.unique().tolist() == [2.0]


@pytest.mark.parametrize(
    ("options", "train", "message"),
    [
        (("ZSSEG.TRAINING_VOCABULARY", "kept"), TRAIN, "TRAINING_VOCABULARY=kept: the teacher names deleted classes"),
        ((), tiny_dataset("tiny_train"), "deletes no class, so there is nothing to teach"),
    ],
)
def test_contradictions(options, train, message):
    cfg = tiny_config("MODEL.META_ARCHITECTURE", "MeanTeacherFCCLIP", *options, train=train)
    with pytest.raises(ValueError, match=message):
        type(build()).check_config(cfg)
