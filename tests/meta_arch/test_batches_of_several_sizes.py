"""One image's loss is the same alone and in company, whether a batch of several sizes takes one pass or more."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model

from tests.tiny import tiny_config, tiny_dataset, training_item
from zsseg_d2.modeling.fcclip.interfaces import PixelDecoder, QueryDecoder
from zsseg_d2.modeling.padding import Padding

QUERIES = 9
SMALL, WIDE, HIGH = (32, 64), (64, 160), (128, 64)


@pytest.fixture(params=[True, False], ids=["one pass", "size by size"])
def one_pass(request, monkeypatch):
    """As on a GPU, and as on a CPU."""
    monkeypatch.setattr(Padding, "in_one_pass", lambda *_: request.param)
    return request.param


@pytest.fixture
def model(monkeypatch, one_pass):
    torch.manual_seed(0)
    cfg = tiny_config("MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", QUERIES)
    built = build_model(cfg).train()
    with torch.no_grad():  # deformable attention starts on the borders between cells, where its gradient jumps
        for parameter in built.sem_seg_head.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.03)
    draw = torch.rand

    def fixed(*shape, device=None):
        """Draw the same points for an image wherever it stands in a batch."""
        return draw(*shape, generator=torch.Generator().manual_seed(sum(shape)))

    monkeypatch.setattr(torch, "rand", fixed)
    return built


def items() -> list[dict]:
    return [
        training_item(*SMALL, classes=(0, 3)),
        training_item(*WIDE, classes=(1,)),
        training_item(*HIGH, classes=(0, 1, 2)),
    ]


def gradients(model) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def test_losses_and_gradients_are_those_of_the_images_alone(model):
    """Mask losses are means over masks; the classification loss is weighted by 1 a match and 0.1 for no object."""
    batch = items()
    masks = [len(item["instances"]) for item in batch]
    weights = [n + 0.1 * (QUERIES - n) for n in masks]
    alone, alone_gradients = [], []
    for item in batch:
        alone.append(model([item]))
        sum(v for k, v in alone[-1].items() if "loss_ce" not in k).backward()
        alone_gradients.append(gradients(model))
    together = model(batch)
    for name, value in together.items():
        parts = weights if "loss_ce" in name else masks
        expected = sum(n * losses[name] for n, losses in zip(parts, alone)) / sum(parts)
        assert value.item() == pytest.approx(expected.item(), rel=2e-5), name
    sum(v for k, v in together.items() if "loss_ce" not in k).backward()
    found = gradients(model)
    scale = max(float(gradient.abs().max()) for gradient in found.values())
    for name, gradient in found.items():
        if ".input_proj." in name and name.endswith(".0.bias"):
            continue  # a norm of one channel a group removes it: its gradient is rounding alone
        expected = sum(n * g[name] for n, g in zip(masks, alone_gradients)) / sum(masks)
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5 * scale, msg=name)


def test_number_of_passes(model, one_pass):
    passes = []
    for module in (model.backbone, model.sem_seg_head.pixel_decoder.transformer, model.sem_seg_head.predictor):
        module.register_forward_hook(lambda m, *_: passes.append(type(m).__name__))
    model([*items(), training_item(*SMALL)])
    decoders = ["DeformableEncoder", "MaskedAttentionDecoder"]
    assert sorted(passes) == ["CLIP", *sorted(decoders * (1 if one_pass else 3))]


def test_images_in_one_pass_are_those_of_several(model):
    batch = model.training_batch([*items(), training_item(*SMALL, classes=(2,))])
    features = model.clip_features(*batch)
    masked, mask_features = model.sem_seg_head(features, True, batch.padding)
    plain, plain_features = model.sem_seg_head.size_by_size(features, True, batch.padding)
    torch.testing.assert_close(mask_features, plain_features, rtol=1e-4, atol=1e-5)
    for one, other in zip(masked, plain, strict=True):
        torch.testing.assert_close(one.class_embed, other.class_embed, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(one.mask_embed, other.mask_embed, rtol=1e-3, atol=1e-5)


def test_decoders_that_mask_nothing_see_one_size_at_a_time(model, monkeypatch):
    expected = model(items())
    monkeypatch.setattr(type(model.sem_seg_head.pixel_decoder), "masks_padding", False)
    shapes = []
    model.sem_seg_head.pixel_decoder.register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0]["res5"].shape))
    found = model(items())
    assert [tuple(s[-2:]) for s in shapes] == [(1, 2), (2, 5), (4, 2)] and all(s[0] == 1 for s in shapes)
    for name, value in found.items():
        assert value.item() == pytest.approx(expected[name].item(), rel=1e-4)
    assert not PixelDecoder.masks_padding and not QueryDecoder.masks_padding


def test_the_loss_does_not_depend_on_the_passes(model, monkeypatch):
    batch = [*items(), training_item(*SMALL, classes=(2,))]
    losses = []
    for one_pass in (True, False):
        monkeypatch.setattr(Padding, "in_one_pass", lambda *_, one_pass=one_pass: one_pass)
        losses.append({name: value.item() for name, value in model(batch).items()})
    assert losses[0] == pytest.approx(losses[1], rel=3e-6)
    assert sum(losses[0].values()) == pytest.approx(sum(losses[1].values()), rel=1e-6)


def test_a_cpu_takes_a_pass_for_each_size():
    assert not Padding.in_one_pass(torch.device("cpu")) and Padding.in_one_pass(torch.device("cuda"))


def test_padded_pixels_have_no_loss(model):
    """Sizes that are no multiples of 32; with a mask that covers all of the image, its padding is no negative."""
    item = training_item(40, 70, classes=(1,))
    (target,) = model.targets([item])
    assert target.masks.shape == (1, 64, 96) and target.masks[0, :40, :70].all() and target.masks.sum() == 40 * 70
    assert target.ignore.sum() == 64 * 96 - 40 * 70 and not target.ignore[:40, :70].any()
    (target,) = model.targets([training_item(*SMALL, classes=(1,))])
    assert target.ignore is None
    (target,) = model.targets([training_item(40, 70, classes=(), ignore=True)])
    assert target.ignore.all()


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("DistilledFCCLIP", ("ZSSEG.DISTILLATION.PAIRING", "hungarian")),
        ("CombinedFCCLIP", ("ZSSEG.FUSION.PAIRING", "hungarian")),
    ],
)
def test_methods_of_two_models_do_not_see_the_company_either(monkeypatch, one_pass, architecture, options):
    torch.manual_seed(0)
    train = tiny_dataset("tiny_sizes_deleted", deleted=(3,))
    config = tiny_config("MODEL.META_ARCHITECTURE", architecture, *options, train=train)
    model = build_model(config).train()
    draw = torch.rand
    monkeypatch.setattr(
        torch, "rand", lambda *shape, device=None: draw(*shape, generator=torch.Generator().manual_seed(sum(shape)))
    )
    item, other = training_item(*SMALL, classes=(0,)), training_item(*HIGH, classes=(0,))
    alone, company = model([item, item]), [model([item, other]), model([other, other])]
    assert set(alone) == set(company[0])
    for name in alone:
        expected = (alone[name] + company[1][name]).item() / 2
        assert company[0][name].item() == pytest.approx(expected, rel=1e-4, abs=1e-6), name
