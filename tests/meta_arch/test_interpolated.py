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


def same(one: dict, two: dict, rounding: float = 0.0) -> bool:
    (ids, segments), (other, others) = one["panoptic_seg"], two["panoptic_seg"]
    close = torch.allclose(one["sem_seg"], two["sem_seg"], rtol=0, atol=rounding)
    near = [{key: pytest.approx(value, rel=0, abs=rounding) for key, value in each.items()} for each in others]
    return torch.equal(ids, other) and segments == near and close


def same_but_rounding(one: dict, two: dict) -> bool:
    """Of a batch and of an image alone, CPUs may round sums in another order."""
    return same(one, two, 1e-5)


def alone(model, items=ITEMS) -> list[dict]:
    return [model([item])[0] for item in items]


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
    return alone(model)


def test_the_ends_are_the_two_models(model, monkeypatch):
    one, two = alone(model.model_one), alone(model.model_two)
    assert not any(map(same_but_rounding, one, two)), "two models, of which a test can tell"
    assert all(map(same, with_shares(model, monkeypatch, 0.0), one))
    assert all(map(same, with_shares(model, monkeypatch, 1.0), two))
    assert all(map(same, alone(model.model_one), one)) and all(map(same, alone(model.model_two), two)), "as before"


def test_between_them_is_the_model_with_weights_between(model, monkeypatch):
    torch.manual_seed(1)
    plain = build_model(tiny_config("MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", 0.0)).eval()
    one, two = model.model_one.state_dict(), model.model_two.state_dict()
    plain.load_state_dict({k: torch.lerp(v, two[k], 0.25) if v.is_floating_point() else v for k, v in one.items()})
    for found, expected in zip(with_shares(model, monkeypatch, 0.25), alone(plain)):
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
    single = alone(model)
    assert all(map(same_but_rounding, model(ITEMS), single))
    assert all(map(same_but_rounding, reversed(model(ITEMS[::-1])), single))
    assert same(single[0], alone(model.model_one)[0]) and same(single[1], alone(model.model_two)[1])


def test_there_is_nothing_to_train(model):
    with pytest.raises(RuntimeError, match="--eval-only"):
        model.losses(ITEMS)
