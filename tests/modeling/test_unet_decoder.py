"""The U-Net on a ViT's and on a ResNet's maps: sizes, what reaches the output, and that it can learn a prompt."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.modeling.tiny_clips import tiny_resnet, tiny_vit, tokens
from zsseg_d2.modeling.clip.frozen import CLIPPyramid
from zsseg_d2.modeling.clip.vit import CLIPViT, token_maps
from zsseg_d2.modeling.referring.unet_decoder import UNetDecoder


def small(widths=(4, 5, 6), stride=8, dims=(12, 8, 6)) -> UNetDecoder:
    torch.manual_seed(0)
    return UNetDecoder(widths=widths, stride=stride, condition_dim=7, dims=dims)


def maps_and_condition(widths=(4, 5, 6), images=2, grid=(2, 3)):
    generator = torch.Generator().manual_seed(1)
    maps = [torch.randn(images, c, *grid, generator=generator) for c in widths]
    return maps, torch.randn(images, 7, generator=generator)


def test_on_a_vit():
    tower = CLIPViT(tiny_vit(), None, (0, 2, 4))
    images = torch.randn(2, 3, 32, 48)
    decoder = UNetDecoder(widths=[tower.width] * 3, stride=tower.patch, condition_dim=16, dims=(16, 8, 4))
    maps = token_maps(tower(images), tower.grid(32, 48))
    assert decoder(maps, tower.embed_tokens(tokens(count=2))).shape == (2, 32, 48)


def test_on_a_resnet_no_map_is_resized():
    tower = CLIPPyramid(tiny_resnet(), None)
    decoder = UNetDecoder(widths=tower.widths, stride=tower.strides[-1], condition_dim=16, dims=(16, 16, 8, 8))
    grids = []
    for stage in decoder.stages:
        stage.skip.register_forward_hook(lambda module, args, output: grids.append(tuple(output.shape[-2:])))
        stage.register_forward_hook(lambda module, args, output: grids.append(tuple(output.shape[-2:])))
    assert decoder(tower(torch.randn(2, 3, 64, 96)), tower.embed_tokens(tokens(count=2))).shape == (2, 64, 96)
    assert grids[::2] == grids[1::2] == [(2, 3), (4, 6), (8, 12), (16, 24)]


@pytest.mark.parametrize("stride", [1, 2, 7, 8, 32])
def test_grids_double_up_to_one_cell_a_pixel(stride):
    decoder = small(stride=stride)
    grids = []
    for stage in decoder.stages:
        stage.register_forward_hook(lambda module, args, output: grids.append(tuple(output.shape[-2:])))
    maps, condition = maps_and_condition()
    assert decoder(maps, condition).shape == (2, 2 * stride, 3 * stride)
    assert grids == [(2 * t, 3 * t) for t in (1, min(2, stride), min(4, stride))]


def test_every_map_and_the_prompt_reach_the_mask():
    decoder = small()
    maps, condition = maps_and_condition()
    with torch.no_grad():
        before = decoder(maps, condition)
        assert torch.equal(decoder(maps, condition + torch.randn(7)), before), "an untrained prompt changes nothing"
        for stage in decoder.stages:
            stage.film.weight.normal_()
        before = decoder(maps, condition)
        for index in range(3):
            changed = [m + (i == index) * torch.randn_like(m) for i, m in enumerate(maps)]
            assert not torch.allclose(decoder(changed, condition), before)
        assert not torch.allclose(decoder(maps, condition + torch.randn(7)), before)
        assert torch.allclose(decoder(maps, 5 * condition), before, atol=1e-3), (
            "the length of the embedding says nothing"
        )


def test_several_prompts_an_image():
    decoder = small()
    with torch.no_grad():
        for stage in decoder.stages:
            stage.film.weight.normal_()
        maps, condition = maps_and_condition()
        owner = torch.tensor([1, 0, 1])
        prompts = torch.cat((condition, condition[:1] + torch.randn(7)))
        together = decoder(maps, prompts, owner)
        for row, image in enumerate(owner.tolist()):
            alone = decoder([m[image : image + 1] for m in maps], prompts[row : row + 1])
            assert torch.allclose(together[row], alone[0], atol=1e-5)


def test_it_learns_which_half_the_prompt_means():
    """The same maps, two prompts, two masks: without conditioning the loss would stay above log 2."""
    decoder = small()
    maps, condition = maps_and_condition(images=1)
    prompts = torch.cat((condition, -condition))
    target = torch.zeros(2, 16, 24)
    target[0, :, :12], target[1, :, 12:] = 1, 1
    optimizer = torch.optim.AdamW(decoder.parameters(), 1e-2)
    for _ in range(60):
        loss = F.binary_cross_entropy_with_logits(decoder(maps, prompts, torch.tensor([0, 0])), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3 and all(p.grad is not None for p in decoder.parameters())


def test_wrong_numbers_are_refused():
    maps, condition = maps_and_condition()
    with pytest.raises(ValueError, match="reads 3 maps, not 2"):
        small()(maps[:2], condition)
    with pytest.raises(ValueError, match="1 prompts for 2 images"):
        small()(maps, condition[:1])
    with pytest.raises(ValueError, match="needs as many stage widths"):
        small(dims=(8, 8))


def with_image() -> UNetDecoder:
    torch.manual_seed(0)
    return UNetDecoder(widths=(4, 5), stride=8, condition_dim=7, dims=(12, 8, 6), hints=True, pixels=True)


def test_the_image_is_the_finest_map():
    """A pixel moves the mask near it, and the stem's grid is that of the last stage."""
    decoder = with_image().eval()
    maps, condition = maps_and_condition((4, 5))
    images, hint = torch.randn(2, 3, 16, 24), torch.randn(2, 2, 3)
    assert decoder.stem(images).shape == (2, 6, 8, 12)
    with torch.no_grad():
        before = decoder(maps, condition, hint=hint, images=images)
        images[0, :, 0, 0] += 5
        changed = decoder(maps, condition, hint=hint, images=images) != before
    assert before.shape == (2, 16, 24) and changed[0, :2, :2].all() and not changed[1].any()


def test_the_hint_reaches_the_mask():
    decoder = with_image()
    maps, condition = maps_and_condition((4, 5))
    images, hint = torch.randn(2, 3, 16, 24), torch.randn(2, 2, 3, requires_grad=True)
    decoder(maps, condition, hint=hint, images=images).sum().backward()
    assert (hint.grad != 0).all()


def test_what_the_decoder_is_built_for_has_to_be_given():
    maps, condition = maps_and_condition((4, 5))
    images, hint = torch.randn(2, 3, 16, 24), torch.randn(2, 2, 3)
    with pytest.raises(ValueError, match="reads the image too, but none"):
        with_image()(maps, condition, hint=hint)
    with pytest.raises(ValueError, match="reads hints, but none"):
        with_image()(maps, condition, images=images)
    with pytest.raises(ValueError, match="does not read hints"):
        small()(*maps_and_condition(), hint=hint)
    with pytest.raises(ValueError, match="as many stage widths"):
        UNetDecoder(widths=(4, 5), stride=8, dims=(12, 8), pixels=True)
