"""Pre-training on regions and captions: the loss by hand, and crops with matching masks, places and captions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.modeling.tiny_clips import tiny_vit, tokens
from zsseg_d2.data.synthetic.scene import Scene, SceneObject
from zsseg_d2.engine.training.clip_pretraining import SceneSampler, _middle, _step_loss, region_text_loss


def test_the_loss_is_clips_where_every_text_is_of_one_region():
    regions, texts = (F.normalize(torch.randn(4, 6), dim=-1) for _ in range(2))
    logits, own = 3 * regions @ texts.T, torch.arange(4)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    assert torch.allclose(region_text_loss(regions, texts, torch.eye(4).bool(), own, torch.tensor(3.0)), expected)


def test_a_text_that_is_also_true_is_no_negative():
    """Region 0 fits text 1 too: their product is in no denominator. Regions 1 and 2 share text 1."""
    regions, texts = F.normalize(torch.randn(3, 6), dim=-1), F.normalize(torch.randn(2, 6), dim=-1)
    fits = torch.tensor([[True, True], [False, True], [False, True]])
    own = torch.tensor([0, 1, 1])
    e = (2 * regions @ texts.T).exp()
    to_text = -torch.stack([(e[0, 0] / e[0, 0]).log(), *((e[k, 1] / e[k].sum()).log() for k in (1, 2))]).mean()
    column = e[1, 1] + e[2, 1]  # without region 0
    second = ((e[1, 1] / column).log() + (e[2, 1] / column).log()) / 2
    to_region = -torch.stack([(e[0, 0] / e[:, 0].sum()).log(), second]).mean()
    found = region_text_loss(regions, texts, fits, own, torch.tensor(2.0))
    assert found.item() == pytest.approx((to_text + to_region).item() / 2, abs=1e-5)


def test_the_middle_of_a_mask():
    mask = torch.zeros(4, 10)
    mask[1, 2] = mask[3, 5] = 1
    assert _middle(mask) == 4.0 and _middle(torch.ones(4, 10)) == 5.0  # columns 2 to 6, and 0 to 10


@pytest.fixture
def sampler() -> SceneSampler:
    """Of one scene, a red car left of a blue bus on grey, without the renderer."""
    image, index = np.full((160, 240, 3), 128, np.uint8), np.zeros((160, 240), np.int32)
    objects = []
    for number, (kind, colour, rgb, x) in enumerate(
        (("car", "red", (250, 20, 20), 40), ("bus", "blue", (20, 20, 250), 150)), 1
    ):
        image[60:110, x : x + 50], index[60:110, x : x + 50] = rgb, number
        shape = dict(box=(x, 60, x + 50, 110), area=2500, is_thing=True, crowd=False, depth=9.0)
        objects.append(SceneObject(index=number, kind=kind, colour=colour, size="small", **shape))
    made = object.__new__(SceneSampler)
    made.size, made.rng, made.stride, made.phrases = (96, 128), np.random.default_rng(0), 8, True
    made.scenes, made.synonyms = [Scene(image, index, tuple(objects), "")], {"car": ("car",), "bus": ("bus",)}
    return made


def test_crops_show_regions_where_their_masks_are(sampler):
    batch = sampler.batch(40)
    assert batch.images.shape == (40, 3, 96, 128) and batch.images.min() >= 0 and batch.images.max() <= 255
    orders = set()
    for image, regions, objects, places in zip(batch.images, batch.regions, batch.objects, batch.places):
        assert regions.shape == (len(objects), 12, 16) and regions.dtype == torch.bool and regions.any((1, 2)).all()
        for mask, thing, place in zip(regions, objects, places):
            cells = F.avg_pool2d(image, 8)[:, mask].mean(1)
            strong, weak = (cells[0], cells[2]) if thing.kind == "car" else (cells[2], cells[0])
            assert strong > weak + 20
            assert abs(_middle(mask.float()) / 16 - place) < 1.1 / 16
        if len(places) == 2:
            orders.add(places[0] < places[1])
    assert orders == {True, False}, "mirrored scenes have mirrored places"


def test_captions_are_true_of_their_regions(sampler):
    batch = sampler.batch(30)
    found = sampler.captions(batch)
    where = list(zip(sum(batch.objects, []), sum(batch.places, [])))
    assert len(found) == len(where) and all(c.fits(o, place) for c, (o, place) in zip(found, where))
    said = [(c.position, place) for c, (_, place) in zip(found, where) if c.position]
    assert said and all(place <= 0.4 if position == "on the left" else place >= 0.6 for position, place in said)
    sampler.phrases = False
    assert all(c.position is None for c in sampler.captions(batch))


def test_a_step_reaches_all_of_a_vit(sampler):
    clip = tiny_vit(pool="avg").train()
    batch = sampler.batch(4)
    captions = sampler.captions(batch)
    loss, accuracy = _step_loss(clip, lambda texts: tokens(count=len(texts)), batch, captions, batch.images / 128 - 1)
    loss.backward()
    unused = {n for n, p in clip.named_parameters() if p.grad is None}
    assert loss.isfinite() and 0 <= accuracy <= 1 and unused <= {"logit_bias"}
    assert clip.visual.proj.grad.abs().max() > 0 and clip.token_embedding.weight.grad.abs().max() > 0
