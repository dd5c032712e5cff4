"""The query decoder's attention masks and products, and parts chosen by name."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from tests.tiny import random_image, tiny_config
from zsseg_d2.modeling.fcclip.interfaces import PixelDecoder, QueryDecoder
from zsseg_d2.modeling.fcclip.mask_logits import logits_and_pooled, outside_mask, project_embeddings
from zsseg_d2.modeling.fcclip.query_decoder import MaskedAttentionDecoder, _attention_mask
from zsseg_d2.modeling.registries import PIXEL_DECODER_REGISTRY, TRANSFORMER_DECODER_REGISTRY


def test_attention_masks_by_hand():
    """A query attends inside its mask; one whose mask is empty attends everywhere."""
    features = torch.tensor([[2.0, -3.0, 1.0]]).view(1, 1, 1, 3)
    embed = torch.tensor([[[1.0], [-1.0], [0.0]]])
    assert _attention_mask(embed, features, None)[0].tolist() == [
        [False, True, False],
        [True, False, True],
        [False, False, False],  # logits of 0: probability 0.5 is inside
    ]
    assert not _attention_mask(embed, -features.abs(), None)[0, 0].any()


def test_a_query_with_an_empty_mask_attends_everywhere():
    torch.manual_seed(0)
    decoder = MaskedAttentionDecoder(dim=16, mask_dim=8, embed_dim=4, queries=3, layers=1, heads=2, feedforward=16)
    scales = [torch.randn(1, 16, 2, 3), torch.randn(1, 16, 4, 6), torch.randn(1, 16, 8, 12)]
    features = torch.randn(1, 8, 16, 24)
    features[:, 0] = 1.0
    last, pooling = decoder.mask_embed.layers[-1], decoder._mask_pooling_proj[1]
    for linear in (last, pooling):  # every query has the same mask, and what it pools has no effect
        nn.init.zeros_(linear.weight), nn.init.zeros_(linear.bias)
    outputs = []
    for logit in (1.0, -1.0):  # every mask full, every mask empty
        last.bias.data[0] = logit
        outputs.append(decoder(scales, features, return_aux=False)[-1].class_embed)
    torch.testing.assert_close(*outputs)


def test_products_without_mask_features_are_those_with_them():
    torch.manual_seed(0)
    projection = nn.Conv2d(6, 5, 1)
    features, embed = torch.randn(2, 6, 7, 9), torch.randn(2, 4, 5)
    embed[0, 0], projection.bias.data = 0.0, torch.randn(5)
    with torch.no_grad():
        mask_features = projection(features)
        expected = torch.einsum("bqc,bchw->bqhw", embed, mask_features)
        moved, offset = project_embeddings(embed, projection)
        torch.testing.assert_close(torch.einsum("bqc,bchw->bqhw", moved, features) + offset, expected)
        assert torch.equal(outside_mask(embed, features, projection), expected < -1e-9)
        logits, pooled = logits_and_pooled(embed, features, projection)
    torch.testing.assert_close(logits, expected)
    for b in range(2):
        for q in range(4):
            cells = mask_features[b][:, expected[b, q] > 0]
            mean = cells.mean(1) if cells.shape[1] else torch.zeros(5)
            torch.testing.assert_close(pooled[b, q], mean)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME", "Did you mean MSDeformAttnPixelDecoder?"),
        ("MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME", "Did you mean MultiScaleExtendedMaskTransformerDecoder?"),
    ],
)
def test_unknown_names_are_refused_with_a_suggestion(key, message):
    name = message.split()[-1][:-2]
    with pytest.raises(ValueError, match=f"{key}='{name}'.*{message[:-1]}"):
        build_model(tiny_config(key, name))


@pytest.fixture
def outside_parts():
    """A pixel decoder and a query decoder with the least that the interfaces ask for."""

    @PIXEL_DECODER_REGISTRY.register_as("least")
    class Pixel(PixelDecoder):
        def __init__(self, cfg, input_shape):
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(input_shape[f"res{k}"].channels, 32, 1) for k in (2, 3, 4, 5))

        def forward(self, features):
            mask_features, *scales = (conv(features[f"res{k}"]) for k, conv in enumerate(self.convs, start=2))
            return mask_features, scales[::-1]

    @TRANSFORMER_DECODER_REGISTRY.register_as("least")
    class Query(MaskedAttentionDecoder):
        last = QueryDecoder.last

    yield
    for registry in (PIXEL_DECODER_REGISTRY, TRANSFORMER_DECODER_REGISTRY):
        registry._obj_map.pop("least")


@pytest.mark.parametrize("pixel", ["least", "MSDeformAttnPixelDecoder"])
@pytest.mark.parametrize("query", ["least", "MultiScaleExtendedMaskTransformerDecoder"])
def test_outside_decoders_work_with_each_other_and_with_the_built_in_ones(outside_parts, pixel, query):
    keys = "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME", "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME"
    model = build_model(tiny_config(keys[0], pixel, keys[1], query)).eval()
    (_, images), *_ = model.padded_batches([{"image": random_image(64, 96)}])
    with torch.no_grad():
        features = model.backbone(images)
        queries = model.sem_seg_head.last(features)
        (expected,), mask_features = model.sem_seg_head(features, return_aux=False)
    torch.testing.assert_close(queries.class_embed, expected.class_embed, rtol=1e-3, atol=1e-4)
    masks = torch.einsum("bqc,bchw->bqhw", expected.mask_embed, mask_features)
    torch.testing.assert_close(queries.mask_logits, masks, rtol=1e-3, atol=1e-4)
