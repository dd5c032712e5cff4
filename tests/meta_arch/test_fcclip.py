"""The meta-architecture as a whole: independence from the batch, vocabularies, training losses, refusals, sizes."""

from __future__ import annotations

import argparse

import pytest
import torch
from detectron2.modeling import build_model

from tests.tiny import random_image, tiny_config, tiny_dataset, training_item
from zsseg_d2.data.synthetic import CITY, render_scene
from zsseg_d2.engine import Trainer, setup_cfg


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    cfg = tiny_config("MODEL.MASK_FORMER.TEST.INSTANCE_ON", True, "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", 0.1)
    return build_model(cfg).eval()


def test_an_image_does_not_depend_on_its_company():
    """The embedded model on a scene: alone, beside a larger image, and beside one of the same padded size."""
    options = [
        "MODEL.DEVICE",
        "cpu",
        "MODEL.MASK_FORMER.TEST.INSTANCE_ON",
        "True",
        "MODEL.MASK_FORMER.TEST.SEMANTIC_ON",
        "True",
    ]
    cfg = setup_cfg(argparse.Namespace(config_file="minicity/zero_shot.yaml", opts=options, eval_only=True))
    model = Trainer.build_model(cfg).eval()
    Trainer.build_checkpointer(cfg, model).load(cfg.MODEL.WEIGHTS)
    picture = torch.from_numpy(render_scene(CITY, 5, 192, 384).image).permute(2, 0, 1)
    image = {"image": picture[:, :180, :370], "height": 180, "width": 370}
    larger, same = {"image": random_image(200, 400, 1)}, {"image": random_image(170, 380, 2)}
    (alone,) = model([image])
    assert len(alone["panoptic_seg"][1]) > 3 and len(alone["instances"]) > 3
    for company in ([image, larger], [larger, image], [same, image]):
        together = model(company)[company.index(image)]
        assert torch.allclose(together["sem_seg"], alone["sem_seg"], atol=1e-4)
        scores, expected = (r["instances"].scores.sort().values for r in (together, alone))
        assert torch.allclose(scores, expected, atol=1e-5)
        # Two queries may tie to the last bit at a pixel; everything else is the same segment.
        assert (together["panoptic_seg"][0] != alone["panoptic_seg"][0]).float().mean() < 1e-4
        names = [(s["id"], s["category_id"]) for s in alone["panoptic_seg"][1]]
        assert [(s["id"], s["category_id"]) for s in together["panoptic_seg"][1]] == names


def test_results_have_detectron2s_keys_and_the_size_asked_for(model):
    (result,) = model([{"image": random_image(64, 96), "height": 128, "width": 192}])
    assert set(result) == {"sem_seg", "panoptic_seg", "instances"}
    assert result["sem_seg"].shape == (4, 128, 192)
    segmentation, segments = result["panoptic_seg"]
    assert segmentation.shape == (128, 192)
    assert {int(i) for i in segmentation.unique()} - {0} == {s["id"] for s in segments}
    assert result["instances"].pred_masks.shape[1:] == (128, 192)


def test_every_test_set_uses_its_own_vocabulary():
    other = tiny_dataset("tiny_other_val", ("boat", "grass", "dog", "tree", "lamp"))
    cfg = tiny_config(test=tiny_dataset())
    cfg.DATASETS.TEST = ("tiny_val", other)
    model = build_model(cfg).eval()
    first, second = (model([{"image": random_image(64, 64), "dataset_name": n}])[0] for n in ("tiny_val", other))
    assert first["sem_seg"].shape[0] == 4 and second["sem_seg"].shape[0] == 5
    assert model.classes.evaluation("tiny_val").vocabulary.names[0] == "road"
    assert model.classes.evaluation(other).things == frozenset((3, 4))


def test_vocabulary_file_replaces_names_without_python(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("car, automobile\nperson\nsky\nroad, street, lane\n")
    cfg = tiny_config("ZSSEG.VOCABULARY", str(words))
    classes = build_model(cfg).classes.evaluation("tiny_val")
    assert classes.vocabulary.classes[0] == ("road", "street", "lane")  # put into the data set's order
    assert classes.vocabulary.names == ("road", "sky", "person", "car")
    words.write_text("automobile\nperson\nsky\nroad\n")  # one new name: by place, and these places are wrong
    with pytest.raises(ValueError, match="'person' is class 1, but class 2 of the dataset"):
        build_model(cfg)
    words.write_text("lane\nsky\nperson\nautomobile\n")
    assert build_model(cfg).classes.evaluation("tiny_val").vocabulary.names == ("lane", "sky", "person", "automobile")
    words.write_text("car\nperson\n")
    with pytest.raises(ValueError, match="2 classes, but 'tiny_val' has 4"):
        build_model(cfg)


@pytest.mark.parametrize(
    ("choice", "seen"),
    [("pretraining", [True, True, True, True]), ("training", [True, True, False, False]), ("both", [True] * 4)],
)
def test_seen_set(choice, seen):
    train = tiny_dataset("tiny_train_deleted", deleted=(2, 3))
    model = build_model(tiny_config("ZSSEG.SEEN_CLASSES", choice, train=train))
    assert list(model.classes.evaluation("tiny_val").seen) == seen


def test_text_rows_stay_float32_under_autocast(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows = model.text_classifier(model.classes.evaluation().vocabulary, model.backbone)
    assert rows.dtype == torch.float32


def test_mask_pooling_survives_half_precision():
    """A sum of features over 65536 pixels is beyond float16."""
    torch.manual_seed(0)
    decoder = build_model(tiny_config()).sem_seg_head.predictor.eval()
    scales = [torch.randn(1, 32, side, side) for side in (2, 4, 8)]
    with torch.autocast("cpu", dtype=torch.float16), torch.no_grad():
        predictions = decoder(scales, torch.full((1, 32, 256, 256), 1.5), return_aux=True)
    assert all(torch.isfinite(p.class_embed).all() for p in predictions)


def test_training_losses_and_gradients():
    torch.manual_seed(0)
    model = build_model(tiny_config()).train()
    assert not model.backbone.training
    losses = model([training_item(), training_item(50, 80, (1,))])
    names = {f"{n}{s}" for n in ("loss_ce", "loss_mask", "loss_dice") for s in ("", "_0", "_1", "_2")}
    assert set(losses) == names and all(torch.isfinite(v) for v in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if name.startswith("backbone."):
            assert parameter.grad is None and not parameter.requires_grad
        else:
            assert parameter.grad is not None, name


def test_training_learns_one_image():
    torch.manual_seed(0)
    model = build_model(tiny_config()).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    item, history = training_item(), []
    for _ in range(30):
        loss = sum(model([item]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.6 * history[0]


def test_a_batch_without_any_target_trains():
    model = build_model(tiny_config()).train()
    losses = model([training_item(classes=())])
    sum(losses.values()).backward()
    assert losses["loss_mask"].item() == 0.0 and losses["loss_ce"].item() > 0


def test_kept_vocabulary_leaves_deleted_names_out_of_the_classifier():
    train = tiny_dataset("tiny_train_deleted", deleted=(2, 3))
    model = build_model(tiny_config("ZSSEG.TRAINING_VOCABULARY", "kept", train=train)).train()
    assert model.classes.training.kept == (0, 1)
    sum(model([training_item(classes=(0, 1))]).values()).backward()
    with pytest.raises(ValueError, match="labels of classes that the dataset deletes: "):
        model([training_item(classes=(0, 3))])


def test_ignored_pixels_change_the_loss_only_where_they_are():
    item, plain = training_item(classes=(0,), ignore=True), training_item(classes=(0,))
    model = build_model(tiny_config()).train()
    torch.manual_seed(1)
    nothing_ignored = sum(model([item]).values())
    torch.manual_seed(1)
    assert torch.allclose(nothing_ignored, sum(model([plain]).values()))
    item["ignore"][:, 48:] = True
    torch.manual_seed(1)
    assert not torch.allclose(nothing_ignored, sum(model([item]).values()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 7), "NUM_CLASSES is 7, but the training vocabulary of 'tiny_train' has 4"),
        (("MODEL.FC_CLIP.EMBED_DIM", 64), "EMBED_DIM=64: 'mini_rn' embeds in 128"),
        (("MODEL.FC_CLIP.CLIP_MODEL_NAME", "RN51"), "Did you mean"),
        (("MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS", "no/such.pt"), "neither a file nor a tag"),
        (("ZSSEG.SEEN_CLASSES", "some"), "choose 'pretraining'"),
        (("ZSSEG.TRAINING_VOCABULARY", "few"), "choose 'all' or 'kept'"),
        (("MODEL.MASK_FORMER.PRE_NORM", True), "only post-norm"),
        (
            ("MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME", "FPN"),
            "there is no such pixel decoder. Registered: MSDeformAttnPixelDecoder",
        ),
    ],
)
def test_contradictions_end_in_one_clear_sentence(options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build_model(tiny_config(*options))


@pytest.mark.parametrize(
    ("clip", "embed", "total", "trainable"),
    [("RN50", 1024, 123.04, 21.03), ("RN101", 512, 140.59, 20.90), ("convnext_large_d_320", 768, 372.49, 20.72)],
)
def test_sizes_of_the_released_models(clip, embed, total, trainable):
    """Millions of parameters, as published."""
    cfg = tiny_config()
    cfg.merge_from_list(
        [
            *("MODEL.FC_CLIP.CLIP_MODEL_NAME", clip, "MODEL.FC_CLIP.EMBED_DIM", embed, "MODEL.DEVICE", "cpu"),
            *("MODEL.SEM_SEG_HEAD.CONVS_DIM", 256, "MODEL.SEM_SEG_HEAD.MASK_DIM", 256),
            *(
                "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS",
                6,
                "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_DIM_FEEDFORWARD",
                1024,
            ),
            *("MODEL.MASK_FORMER.HIDDEN_DIM", 256, "MODEL.MASK_FORMER.DIM_FEEDFORWARD", 2048),
            *("MODEL.MASK_FORMER.DEC_LAYERS", 10, "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", 250),
        ]
    )
    model = build_model(cfg)
    parameters = list(model.parameters())
    assert sum(p.numel() for p in parameters) / 1e6 == pytest.approx(total, abs=0.006)
    assert sum(p.numel() for p in parameters if p.requires_grad) / 1e6 == pytest.approx(trainable, abs=0.006)


def scored(*options):
    """Inputs and result of ``class_scores`` with random weights, and the model."""
    torch.manual_seed(0)
    model = build_model(tiny_config(*options)).eval()
    classes = model.classes.evaluation("tiny_val")
    generator = torch.Generator().manual_seed(1)
    inside = torch.randn(1, 9, 5, generator=generator) * 4
    masks, dense = torch.randn(1, 9, 16, 24, generator=generator) * 4, torch.randn(1, 512, 2, 3, generator=generator)
    dense = dense[:, :1].expand(-1, model.backbone.output_shape()["clip_vis_dense"].channels, -1, -1).contiguous()
    with torch.no_grad():
        return inside, model.class_scores(inside, masks, dense, classes).exp()


def test_in_vocabulary_scores_alone():
    inside, scores = scored("ZSSEG.ENSEMBLE", False)
    torch.testing.assert_close(
        scores, inside.softmax(-1), atol=1e-6, rtol=1e-4
    )  # softmax over K · (1 - p_void) is softmax over K + 1
    assert not torch.allclose(scores, scored()[1], atol=1e-3)


def test_without_the_void_rule_no_query_is_void():
    for options in ((), ("ZSSEG.ENSEMBLE", False)):
        assert (scored(*options)[1].argmax(-1) == 4).any()
        scores = scored("ZSSEG.VOID_RULE", False, *options)[1]
        assert (scores[..., -1] < 1e-6).all()
        torch.testing.assert_close(scores[..., :-1].sum(-1), torch.ones(1, 9), atol=1e-4, rtol=0)


def test_void_suppression_lowers_void_and_nothing_else():
    everywhere = ("MODEL.FC_CLIP.ENSEMBLE_ON_VALID_MASK", False)  # CLIP speaks of every mask, also of tiny ones
    for options in (everywhere, (*everywhere, "ZSSEG.ENSEMBLE", False)):
        plain, suppressed = scored(*options)[1], scored("ZSSEG.VOID_SUPPRESSION", 0.5, *options)[1]
        assert (suppressed[..., -1] < plain[..., -1]).all() and (
            suppressed[..., -1] > 0.5 * plain[..., -1] - 1e-6
        ).all()
        shares = [s[..., :-1] / s[..., :-1].sum(-1, keepdim=True) for s in (plain, suppressed)]
        torch.testing.assert_close(shares[0], shares[1], atol=1e-4, rtol=1e-3)
