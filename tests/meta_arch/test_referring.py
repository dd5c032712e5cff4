"""ReferringSegmentor: every decoder trains on a frozen CLIP, phrases share images, and what does not fit is refused."""

from __future__ import annotations

import argparse
import copy

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model

from tests.tiny import random_image
from tests.tiny_referring import logits_of, phrase_item
from zsseg_d2.engine.config.setup import setup_cfg
from zsseg_d2.meta_arch import referring
from zsseg_d2.modeling.clip.frozen import CLIPPyramid
from zsseg_d2.modeling.clip.vit import CLIPViT

REF = "MODEL.REFERRING."
MODELS = {
    "model0": (REF + "CLIP_LAYERS", [0, 1, 2, 3, 4]),
    "model1": (),
    "model2": (REF + "CLIP_LAYERS", [1, 2, 3, 4]),
    "rd64": (REF + "KERNELS", [8]),
    "rd64-refined": (REF + "KERNELS", [4, 2]),
    "unet": (REF + "CLIP_LAYERS", [], REF + "UNET_DIMS", [16, 8, 8]),
    "unet_avg": (REF + "CLIP_LAYERS", [], REF + "UNET_DIMS", [16, 8, 8], REF + "UNET_SIMILARITY", True),
    "unet_resnet": (REF + "UNET_DIMS", [16, 12, 8, 8]),
}


def options_of(name: str) -> dict:
    """Arguments of ``build`` for one of `MODELS`."""
    decoder, _, kind = name.partition("_")
    tower = {"": "tiny_vit", "avg": "tiny_vit_avg", "resnet": "tiny_resnet"}[kind]
    return {"options": (REF + "DECODER", decoder, *MODELS[name], "INPUT.PHRASE.SIZE", 64), "tower": tower}


@pytest.mark.parametrize("name", MODELS)
def test_every_decoder_trains_and_evaluates(build, name):
    model = build(REF + "LOSS", "bce + 0.5*dice + focal", **options_of(name))
    assert isinstance(model.backbone, CLIPPyramid if name == "unet_resnet" else CLIPViT)
    before = copy.deepcopy(model.state_dict())
    rest = [p for n, p in model.named_parameters() if not n.startswith("decoder.")]
    assert rest and not any(p.requires_grad for p in rest) and all(p.requires_grad for p in model.decoder.parameters())
    optimizer = torch.optim.SGD(model.decoder.parameters(), lr=0.1)
    losses = model.train()([phrase_item("red car", 1, 64), phrase_item("sky", 2, 64)])
    assert set(losses) == {"loss_bce", "loss_dice", "loss_focal"} and all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.decoder.parameters())
    assert all(p.grad is None for p in rest)
    optimizer.step()
    changed = {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"decoder"}
    sizes = [(50, 70), (64, 64)]
    items = [phrase_item("red car", k, 64, height=h, width=w) for k, (h, w) in enumerate(sizes)]
    outputs = logits_of(model, items)
    assert [tuple(x.shape) for x in outputs] == sizes and all(x.dtype == torch.float32 and x.std() > 0 for x in outputs)
    with torch.no_grad():
        small = model.mask_logits(items)
    larger = F.interpolate(small[:1, None], size=sizes[0], mode="bilinear", align_corners=False)[0, 0]
    assert small.shape == (2, 64, 64) and torch.equal(outputs[0], larger) and torch.equal(outputs[1], small[1])


def test_a_step_along_the_losses_lowers_them(build):
    model, items = build(), [phrase_item("red car", 1), phrase_item("sky", 2)]
    optimizer = torch.optim.Adam(model.decoder.parameters(), lr=0.003)
    totals = []
    for _ in range(15):
        total = sum(model.train()(items).values())
        totals.append(float(total.detach()))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert totals[-1] < 0.8 * totals[0]


@pytest.mark.parametrize(
    ("name", "count"),
    [("model0", 3_871_425), ("model1", 1_128_545), ("model2", 3_179_969), ("rd64", 1_127_009)],
)
def test_the_published_decoders_have_their_number_of_parameters(name, count):
    opts = ["MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS", "", "MODEL.DEVICE", "cpu"]
    cfg = setup_cfg(argparse.Namespace(config_file=f"phrasecut/clipseg_{name}.yaml", opts=opts, eval_only=True))
    assert sum(p.numel() for p in build_model(cfg).parameters() if p.requires_grad) == count


@pytest.mark.parametrize("name", ["model1", "unet", "unet_avg", "unet_resnet"])
def test_phrases_that_share_an_image_give_what_copies_give(build, name):
    model = build(**options_of(name))
    one, two = random_image(64, 64, 1), random_image(64, 64, 2)
    images = [one, two, one, one, two]
    prompts = ["red car", "sky", "bus", "two people", "red car"]
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    shared = logits_of(model, [{"image": image, "prompt": p} for image, p in zip(images, prompts)])
    copies = logits_of(model, [{"image": image.clone(), "prompt": p} for image, p in zip(images, prompts)])
    assert seen == [2, 5]
    for x, y in zip(shared, copies):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-5)
    assert (shared[0] - shared[2]).abs().max() > 1e-3 and (shared[0] - shared[4]).abs().max() > 1e-3
    for k, (image, prompt) in enumerate(zip(images, prompts)):  # alone
        (single,) = logits_of(model, [{"image": image, "prompt": prompt}])
        torch.testing.assert_close(single, shared[k], rtol=0, atol=1e-5)


def test_many_phrases_of_an_image_are_decoded_in_groups(build, monkeypatch):
    for name in ("model1", "unet_avg"):
        model, image = build(**options_of(name)), random_image(64, 64, 1)
        items = [{"image": image, "prompt": prompt} for prompt in ("red car", "sky", "bus", "tree", "two people")]
        expected, groups = logits_of(model, items), []
        model.decoder.register_forward_pre_hook(lambda _, args, groups=groups: groups.append(len(args[1])))
        monkeypatch.setattr(referring, "_AT_ONCE", 2)
        for x, y in zip(logits_of(model, items), expected, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-5)
        assert groups == [2, 2, 1]


@pytest.mark.parametrize(
    ("options", "tower", "told"),
    [
        (("INPUT.PHRASE.SIZE", 36), "tiny_vit", "INPUT.PHRASE.SIZE=36: not a multiple of 8"),
        (
            (REF + "DECODER", "unet", "INPUT.PHRASE.SIZE", 48),
            "tiny_resnet",
            "INPUT.PHRASE.SIZE=48: not a multiple of 32",
        ),
        ((REF + "KERNELS", [2, 2]), "tiny_vit", "makes 4 pixels of a cell, .* is 8. Fix: give MODEL.REFERRING.KERNELS"),
        ((REF + "KERNELS", []), "tiny_vit", "makes 32 pixels of a cell, .* is 8. Fix: give MODEL.REFERRING.KERNELS"),
        ((REF + "KERNELS", [2, 2, 2]), "tiny_vit", "not 3. See MODEL.REFERRING.KERNELS"),
        ((REF + "CLIP_LAYERS", [1, 5]), "tiny_vit", r"\(1, 5\) must ascend within 0 … 4.* See MODEL.*CLIP_LAYERS"),
        ((REF + "CLIP_LAYERS", []), "tiny_vit", r"\(3, 6, 9\) must ascend within 0 … 4.* See MODEL.*CLIP_LAYERS"),
        ((REF + "DECODER", "unet", REF + "CLIP_LAYERS", [1, 2]), "tiny_vit", " maps .* See MODEL.REFERRING.UNET_DIMS"),
        ((REF + "DECODER", "unet", REF + "UNET_DIMS", [8, 8]), "tiny_resnet", " maps .* See MODEL.REFERRING.UNET_DIMS"),
        ((REF + "DECODER", "unet", REF + "UNET_SIMILARITY", True), "tiny_vit", "UNET_SIMILARITY=True: it needs a ViT"),
        (
            (REF + "DECODER", "unet", REF + "UNET_SIMILARITY", True, REF + "CLIP_LAYERS", [1, 2, 3]),
            "tiny_vit_avg",
            "UNET_SIMILARITY=True: it needs .* its last block",
        ),
        (
            (REF + "DECODER", "unet", REF + "UNET_SIMILARITY", True),
            "tiny_resnet",
            "UNET_SIMILARITY=True: it needs a ViT",
        ),
        (
            (REF + "DECODER", "unett"),
            "tiny_vit",
            "MODEL.REFERRING.DECODER='unett': there is no such decoder. Did you mean unet. Registered: model0",
        ),
        ((), "tiny_resnet", "ViT image tower is needed, not ModifiedResNet.* MODEL.FC_CLIP.CLIP_MODEL_NAME"),
    ],
)
def test_parts_that_do_not_fit_are_refused(build, options, tower, told):
    with pytest.raises(ValueError, match=told):
        build("INPUT.PHRASE.SIZE", 64, *options, tower=tower)


@pytest.mark.parametrize("decoder", ["model1", "unet"])
def test_many_phrases_are_decoded_in_groups(build, monkeypatch, decoder):
    """In groups of two as all at once."""
    model = build(*((REF + "DECODER", "unet") if decoder == "unet" else ())).eval()
    image = random_image(32, 32, 3)
    items = [{"image": image, "prompt": text} for text in ("red car", "sky", "bus", "a tree", "people")]
    with torch.no_grad():
        together = model.mask_logits(items)
        monkeypatch.setattr(referring, "_AT_ONCE", 2)
        torch.testing.assert_close(model.mask_logits(items), together, rtol=0, atol=1e-5)
