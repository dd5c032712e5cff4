"""Images of several sizes in one batch: in each, every map is the one of the image alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn

from tests.modeling.tiny_clips import tiny_resnet
from zsseg_d2.modeling import fast_forms
from zsseg_d2.modeling.clip.towers import STAGES, find_tower
from zsseg_d2.modeling.padding import Padding, on_images

SIZES = ((96, 64), (32, 128), (64, 64), (96, 128))


def tiny_convnext() -> nn.Module:
    torch.manual_seed(0)
    trunk = timm.create_model("convnext_atto", depths=(1, 2, 2, 1), dims=(8, 16, 24, 32), num_classes=0)
    for parameter in trunk.parameters():
        nn.init.normal_(parameter, std=0.2)  # layer scales start near 0, where the rest would not matter
    return SimpleNamespace(trunk=trunk.eval(), head=nn.Linear(32, 16), training=False)


TOWERS = {"resnet": lambda: tiny_resnet().visual, "convnext": tiny_convnext}


def images_and_canvas() -> tuple[list[torch.Tensor], torch.Tensor, Padding]:
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(1, 3, *size, generator=generator) for size in SIZES]
    padding = Padding.of(SIZES)
    assert padding is not None
    return images, padding.join(images), padding


def test_equal_sizes_need_no_padding():
    assert Padding.of([(32, 64), (32, 64)]) is None
    groups = Padding.of([(32, 96), (64, 32), (32, 96)]).same_size()
    assert groups == [[0, 2], [1]]
    assert Padding.of([(32, 96), (64, 32)]) == Padding(((32, 96), (64, 32)), (64, 96))


def test_parts_of_a_map():
    padding = Padding(((2, 4), (4, 2)), (4, 4))
    maps = torch.arange(32.0).view(2, 1, 4, 4)
    assert [part[0, 0].tolist() for part in padding.crops(maps)] == [
        [[0, 1, 2, 3], [4, 5, 6, 7]],
        [[16, 17], [20, 21], [24, 25], [28, 29]],
    ]
    assert padding.outside((2, 2), maps.device).tolist() == [[False, False, True, True], [False, True, False, True]]
    assert padding.clear_(maps.clone()).flatten(1).tolist() == [
        [*range(8), *[0] * 8],
        [16, 17, 0, 0, 20, 21, 0, 0, 24, 25, 0, 0, 28, 29, 0, 0],
    ]
    assert torch.equal(padding.join(list(padding.crops(maps))), padding.clear_(maps.clone()))
    halved = on_images(padding, lambda m: m[..., ::2, ::2] + 1, maps)
    assert halved.flatten(1).tolist() == [[1, 3, 0, 0], [17, 0, 25, 0]]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", TOWERS)
@torch.no_grad()
def test_features_of_clip_are_those_of_the_image_alone(name, fast, monkeypatch):
    """Also without the fast forms, and not without the mask: convolutions carry the padding into the image."""
    monkeypatch.setattr(fast_forms, "enabled", lambda: fast)
    tower = find_tower(TOWERS[name]())
    images, canvas, padding = images_and_canvas()
    together = tower.padded_features(canvas.clone(), padding)
    unmasked = tower.dense_features(canvas.clone())
    differs = False
    for index, image in enumerate(images):
        alone = tower.dense_features(image)
        for stage in (*STAGES, "clip_vis_dense"):
            part = list(padding.crops(together[stage]))[index]
            torch.testing.assert_close(part, alone[stage], rtol=1e-4, atol=1e-5 * float(alone[stage].abs().max()))
            differs |= not torch.allclose(list(padding.crops(unmasked[stage]))[index], alone[stage], rtol=1e-2)
    assert differs
