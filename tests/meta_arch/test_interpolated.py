"""Per-image interpolation: its ends are the two models, its middle the model of the mean weights, image by image."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model

from tests.tiny import random_image, tiny_config
from zsseg_d2.meta_arch.interpolated import image_embeddings

ITEMS = [
    {"image": random_image(64, 96, 1), "height": 50, "width": 80},
    {"image": random_image(64, 96, 2)},
    {"image": random_image(96, 64, 3)},
]


def same(one: dict, two: dict) -> bool:
    (ids, segments), (other, others) = one["panoptic_seg"], two["panoptic_seg"]
    return torch.equal(ids, other) and segments == others and torch.equal(one["sem_seg"], two["sem_seg"])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    options = ("MODEL.META_ARCHITECTURE", "InterpolatedFCCLIP", "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", 0.0)
    found = build_model(tiny_config(*options)).eval()
    with torch.no_grad():  # queries of random weights name classes, not void
        for part in (found.model_one, found.model_two):
            part.void_embedding.weight.copy_(torch.randn(1, 128, generator=torch.Generator().manual_seed(1)))
    return found


def with_shares(model, monkeypatch, share: float) -> list[dict]:
    monkeypatch.setattr(model, "shares", lambda dense: torch.full((len(dense),), share))
    return model(ITEMS)


def test_the_ends_are_the_two_models(model, monkeypatch):
    one, two = model.model_one(ITEMS), model.model_two(ITEMS)
    assert not any(same(a, b) for a, b in zip(one, two)), "two models, of which a test can tell"
    assert all(map(same, with_shares(model, monkeypatch, 0.0), one))
    assert all(map(same, with_shares(model, monkeypatch, 1.0), two))
    assert all(map(same, model.model_one(ITEMS), one)) and all(map(same, model.model_two(ITEMS), two)), "as before"


def test_between_them_is_the_model_with_weights_between(model, monkeypatch):
    torch.manual_seed(1)
    plain = build_model(tiny_config("MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", 0.0)).eval()
    one, two = model.model_one.state_dict(), model.model_two.state_dict()
    plain.load_state_dict({k: torch.lerp(v, two[k], 0.25) if v.is_floating_point() else v for k, v in one.items()})
    for found, expected in zip(with_shares(model, monkeypatch, 0.25), plain(ITEMS)):
        torch.testing.assert_close(found["sem_seg"], expected["sem_seg"])
        assert torch.equal(found["panoptic_seg"][0], expected["panoptic_seg"][0])


def near_the_first_image(model) -> None:
    """Put the means of both distributions on two of the images."""
    (_, images), *_ = model.padded_batches(ITEMS[:2])
    first, second = image_embeddings(model.model_one, model.clip_features(images)["clip_vis_dense"])
    variance = (first - second).square().sum() / 400  # the odds are e^200 to 1 at either mean
    for part, mean in ((model.statistics_one, first), (model.statistics_two, second)):
        part.load_state_dict({"mean": mean, "covariance": variance * torch.eye(128)})


def test_each_image_has_its_own_share_whatever_its_company(model):
    near_the_first_image(model)
    together, alone = model(ITEMS), [model([item])[0] for item in ITEMS]
    assert all(map(same, together, alone)) and all(map(same, reversed(model(ITEMS[::-1])), alone))
    assert same(alone[0], model.model_one(ITEMS[:1])[0]) and same(alone[1], model.model_two(ITEMS[1:2])[0])


def test_there_is_nothing_to_train(model):
    with pytest.raises(RuntimeError, match="--eval-only"):
        model.losses(ITEMS)
