"""Frozen CLIP towers: activations at any size, prompts of both kinds, and nothing that learns."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.modeling.tiny_clips import tiny_resnet, tiny_timm, tiny_vit, tokens
from zsseg_d2.modeling.clip.frozen import CLIPPyramid, mix_conditions
from zsseg_d2.modeling.clip.positions import resize_positions
from zsseg_d2.modeling.clip.vit import CLIPViT, dense_cells, region_means, token_maps


def test_activations_are_those_of_the_blocks():
    clip = tiny_vit()
    seen = []
    for block in clip.visual.transformer.resblocks:
        block.register_forward_hook(lambda module, args, output: seen.append(output))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        clip.visual(images)
    expected, tower = list(seen), CLIPViT(clip, None, (0, 2, 4))
    for layer, tokens_ in zip((0, 2, 4), tower(images)):
        assert tokens_.shape == (2, 17, 32) and torch.allclose(tokens_, expected[layer], atol=1e-6)
    seen.clear()
    CLIPViT(clip, None, (1,))(images)
    assert len(seen) == 2, "deeper blocks than asked for are not computed"


def test_positions_are_resized_by_hand():
    positions = torch.arange(5.0)[:, None].repeat(1, 3)
    assert resize_positions(positions, (2, 2), (2, 2)) is positions
    resized = resize_positions(positions, (2, 2), (2, 3))
    image = F.interpolate(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), size=(2, 3), mode="bicubic", align_corners=False)
    assert resized[:, 0].tolist() == pytest.approx([0.0, *image.flatten().tolist()])
    assert resized[1:4, 0].mean() < resized[4:, 0].mean(), "row by row"


@pytest.mark.parametrize("size", [(32, 32), (16, 48), (8, 8)])
def test_any_multiple_of_the_patch(size):
    tower = CLIPViT(tiny_vit(), None, (1, 3))
    images = torch.randn(2, 3, *size)
    grid = tower.grid(*size)
    assert [x.shape for x in tower(images)] == [(2, 1 + grid[0] * grid[1], 32)] * 2
    assert tower.embed_images(images).shape == (2, 16)
    assert [x.shape for x in token_maps(tower(images), grid)] == [(2, 32, *grid)] * 2


def test_maps_hold_tokens_row_by_row():
    cells = torch.arange(7.0)[None, :, None].expand(1, 7, 2)
    assert token_maps([cells], (2, 3))[0][0, 1].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert token_maps([cells[:, 1:]], (2, 3))[0][0, 1].tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("size", [(33, 32), (0, 8)])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match="does not divide into patches of 8"):
        CLIPViT(tiny_vit(), None, (1,)).grid(*size)


@pytest.mark.parametrize("layers", [(), (2, 1), (1, 1), (5,), (-1,)])
def test_layers_that_cannot_be_are_refused(layers):
    with pytest.raises(ValueError, match="must ascend within 0 … 4"):
        CLIPViT(tiny_vit(), None, layers)


@pytest.mark.parametrize(
    "name, options, leading",
    [
        ("vit_tiny_patch16_224", {}, 1),
        ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "avg"}, 0),
        ("vit_tiny_patch16_224", {"reg_tokens": 2}, 3),
        ("eva02_tiny_patch14_224", {}, 1),
    ],
)
def test_vits_of_timm(name, options, leading):
    """At its own size as timm computes it, and at others; absolute and rotary positions."""
    clip = tiny_timm(name, **options)
    side = clip.visual.image_size[0]
    own = torch.randn(1, 3, side, side)
    with torch.no_grad():
        embedding = clip.encode_image(own)
        blocks = clip.visual.trunk.forward_intermediates(own, indices=[2], output_fmt="NLC", intermediates_only=True)
    tower = CLIPViT(clip, None, (0, 2))
    for _ in range(2):
        tokens_ = tower(own)[1]
        assert tokens_.shape == (1, leading + 4, 24) and torch.allclose(tokens_[:, leading:], blocks[0], atol=1e-5)
        assert torch.allclose(tower.embed_images(own), embedding, atol=1e-5)
        other = torch.randn(1, 3, 2 * tower.patch, 3 * tower.patch)
        assert [x.shape for x in tower(other)] == [(1, leading + 6, 24)] * 2
        assert tower.embed_images(other).shape == (1, 16)


def test_texts_are_clips_own_embeddings_not_normalised():
    clip = tiny_vit()
    texts = tokens()
    with torch.no_grad():
        expected = clip.encode_text(texts)
    tower = CLIPViT(clip, lambda words: texts[: len(words)], (1,))
    assert torch.allclose(tower.embed_texts(["a", "b"]), expected[:2], atol=1e-5)
    assert not torch.allclose(expected.norm(dim=-1), torch.ones(3), atol=0.1)


def test_images_as_prompts_are_clips_own_embeddings():
    vit, resnet = tiny_vit(), tiny_resnet()
    small, large = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(CLIPViT(vit, None, (1,)).embed_images(small), vit.encode_image(small), atol=1e-5)
        pyramid = CLIPPyramid(resnet, None)
        assert torch.allclose(pyramid.embed_images(large), resnet.encode_image(large), atol=1e-5)
        assert pyramid.embed_images(torch.randn(2, 3, 32, 96)).shape == (2, 16)


def test_a_pyramid_gives_its_stages():
    tower = CLIPPyramid(tiny_resnet(), None)
    maps = tower(torch.randn(2, 3, 64, 96))
    assert [x.shape[1] for x in maps] == list(tower.widths) == [32, 64, 128, 256]
    assert [(64 // x.shape[2], 96 // x.shape[3]) for x in maps] == [(s, s) for s in tower.strides]


def test_the_region_of_all_cells_is_the_image():
    """As open_clip itself embeds it, at the tower's own size, and with resized positions at others."""
    clip = tiny_vit(pool="avg")
    tower = CLIPViT(clip, None, (4,))
    for size in ((32, 32), (16, 48), (64, 24)):
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            cells = dense_cells(clip.visual, images)
            assert cells.shape == (2, 32, size[0] // 8, size[1] // 8)
            whole = region_means(clip.visual, cells, torch.ones(2, 1, *cells.shape[-2:], dtype=torch.bool))[:, 0]
            expected = clip.encode_image(images) if size == (32, 32) else tower.embed_images(images)
        assert torch.allclose(whole, expected, atol=1e-5) and expected.std() > 0.01


def test_regions_are_means_of_their_cells():
    clip = tiny_vit(pool="avg")
    images = torch.randn(1, 3, 32, 32)
    inside = torch.zeros(1, 3, 4, 4, dtype=torch.bool)
    inside[0, 0, 1, 2] = inside[0, 1, 0, :3] = True
    cells = dense_cells(clip.visual, images)
    regions = region_means(clip.visual, cells, inside)
    projected = cells[0].flatten(1).T @ clip.visual.proj  # (16, E), row by row
    assert torch.allclose(regions[0, 0], projected[6], atol=1e-6)
    assert torch.allclose(regions[0, 1], projected[:3].mean(0), atol=1e-6) and not regions[0, 2].any()
    regions.sum().backward()
    assert clip.visual.conv1.weight.grad.abs().max() > 0, "cells are there to be trained on"


def test_towers_stay_frozen():
    for tower in (CLIPViT(tiny_vit(), None, (1,)), CLIPPyramid(tiny_resnet(), None)):
        torch.nn.Sequential(tower).train()
        assert not any(m.training for m in tower.modules()) and not any(p.requires_grad for p in tower.parameters())
        images = torch.randn(1, 3, 64, 64, requires_grad=True)
        assert not any(
            x.requires_grad for x in (*tower(images), tower.embed_images(images), tower.embed_tokens(tokens()))
        )


def test_the_wrong_tower_is_refused():
    with pytest.raises(ValueError, match="A ViT image tower is needed, not ModifiedResNet"):
        CLIPViT(tiny_resnet(), None, (1,))
    with pytest.raises(ValueError, match="No convolutional CLIP tower: .* fits none of ConvNeXt, ResNet"):
        CLIPPyramid(tiny_vit(), None)


def test_mixtures_by_hand():
    text, image = torch.tensor([[1.0, 0.0], [2.0, 4.0]]), torch.tensor([[0.0, 2.0], [2.0, 0.0]])
    assert mix_conditions(text, image, 0.25).tolist() == [[0.25, 1.5], [2.0, 1.0]]
    assert mix_conditions(text, image, torch.tensor([1.0, 0.0])).tolist() == [[1.0, 0.0], [2.0, 0.0]]
    with pytest.raises(ValueError, match="share of the text prompt"):
        mix_conditions(text, image, 1.5)
    with pytest.raises(ValueError, match="cannot be mixed"):
        mix_conditions(text, image[:1], 0.5)


def test_built_by_name():
    tower = CLIPPyramid.build("mini_rn")
    assert tower.embed_texts(["a red car", "sky"]).shape == (2, tower.embed_dim) == (2, 128)
    with pytest.raises(ValueError, match="neither an open_clip model"):
        CLIPViT.build("no such model", layers=(1,))


def test_similarity_is_the_cosine_of_a_cell_and_a_text():
    """Cell by cell with open_clip's own projection; then mean 0 and deviation 1."""
    clip = tiny_vit()
    clip.visual.pool_type = "avg"
    tower = CLIPViT(clip, None, (1, 4))
    images, texts = torch.randn(2, 3, 16, 24), torch.randn(3, 16)
    owner = torch.tensor([1, 0, 1])
    assert tower.has_cell_embeddings and not CLIPViT(clip, None, (1, 3)).has_cell_embeddings
    with torch.no_grad():
        last = tower(images)[-1]
        found = tower.similarity(last, texts, (2, 3), owner)
        for n, (text, image) in enumerate(zip(texts, owner)):
            cells = [
                torch.cosine_similarity(clip.visual.ln_post(x) @ clip.visual.proj, text, dim=0) for x in last[image][1:]
            ]
            cells = torch.stack(cells)
            assert torch.allclose(found[n].flatten(), (cells - cells.mean()) / cells.std(), atol=1e-4)


def test_a_single_cell_has_no_similarity_to_compare():
    clip = tiny_vit()
    clip.visual.pool_type = "avg"
    tower = CLIPViT(clip, None, (4,))
    found = tower.similarity(tower(torch.randn(1, 3, 8, 8))[0], torch.randn(1, 16), (1, 1))
    assert found.shape == (1, 1, 1) and found.item() == 0
