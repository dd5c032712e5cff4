"""The query decoder without recordings: random weights against the plain form, levels, and masks of every kind."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from tests.plain import decoder as plain
from tests.tiny import random_image, tiny_config
from zsseg_d2.modeling.fcclip.layers import sine_position
from zsseg_d2.modeling.fcclip.mask_logits import outside_mask
from zsseg_d2.modeling.fcclip.query_decoder import MaskedAttentionDecoder


@pytest.fixture(scope="module")
def case():
    """A decoder of four layers, so that the coarsest level comes twice, its input, and the plain predictions."""
    torch.manual_seed(2)
    decoder = MaskedAttentionDecoder(dim=16, mask_dim=8, embed_dim=6, queries=12, layers=4, heads=2, feedforward=16)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    scales = [torch.randn(2, 16, h, w) for h, w in ((2, 3), (4, 6), (8, 12))]
    projection = nn.Conv2d(5, 8, 1)
    features = torch.nn.functional.interpolate(torch.randn(2, 5, 4, 6), (16, 24), mode="bilinear")
    with torch.no_grad():
        projection.bias.normal_()  # a constant part, by which some masks are full and some empty
        mask_features = projection(features)
        expected = plain.decode(dict(decoder.named_parameters()), scales, mask_features, heads=2)
    return decoder.eval(), scales, features, projection, mask_features, expected


def test_some_masks_are_empty_some_full_and_some_neither(case):
    """Else the comparison below would see nothing of what a mask does."""
    shares = torch.cat([(p.mask_logits > 0).float().mean((-1, -2)).flatten() for p in case[-1][:-1]])
    assert (shares == 0).sum() >= 3 and (shares == 1).sum() >= 1 and ((shares > 0.2) & (shares < 0.8)).sum() >= 5


def test_every_layer_is_the_plain_one(case):
    decoder, scales, _, _, mask_features, expected = case
    with torch.no_grad():
        actual = decoder(scales, mask_features, return_aux=True)
    assert len(actual) == len(expected) == 5
    for found, wanted in zip(actual, expected):
        torch.testing.assert_close(found.mask_embed, wanted.mask_embed, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.class_embed, wanted.class_embed, rtol=1e-4, atol=1e-4)


def test_the_last_layer_without_mask_features_is_the_plain_one(case):
    decoder, scales, features, projection, _, expected = case
    found, wanted = decoder.last(scales, features, projection), expected[-1]
    torch.testing.assert_close(found.mask_embed, wanted.mask_embed, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.class_embed, wanted.class_embed, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.mask_logits, wanted.mask_logits, rtol=1e-4, atol=1e-3)


def test_a_probability_of_one_half_is_inside():
    """Logits of 1, 0 and -1, of features and of features that a convolution makes."""
    embed, features = torch.ones(1, 1, 1), torch.tensor([1.0, 0.0, -1.0]).view(1, 1, 1, 3)
    projection = nn.Conv2d(1, 1, 1)
    nn.init.constant_(projection.weight, 1.0), nn.init.constant_(projection.bias, -2.0)
    for case in ((features, None), (features + 2, projection)):
        assert outside_mask(embed, *case).flatten().tolist() == [False, False, True]


@pytest.mark.parametrize(("height", "width", "channels"), [(1, 1, 4), (3, 5, 8), (8, 2, 32)])
def test_positions_are_detrs(height, width, channels):
    actual = sine_position(height, width, channels, torch.device("cpu")).flatten(1).T
    torch.testing.assert_close(actual, plain.sine_position(height, width, channels), rtol=0, atol=1e-6)


def test_levels_go_from_coarse_to_fine():
    """Strides 32, 16 and 8, as FC-CLIP's layers take them in turn; each from its own map of CLIP."""
    model = build_model(tiny_config()).eval()
    with torch.no_grad():
        features = model.clip_features(model.padded_batches([{"image": random_image(64, 96)}])[0].images)
        _, scales = model.sem_seg_head.pixel_decoder(features)
        assert [tuple(s.shape[-2:]) for s in scales] == [(2, 3), (4, 6), (8, 12)]
        decoder = model.sem_seg_head.pixel_decoder
        for projection, name in zip(decoder.input_proj, ("res5", "res4", "res3")):
            assert projection[0].in_channels == features[name].shape[1]
