"""Ensemble, panoptic rule, deformable attention and class logits against hand-made cases and slow plain forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from detectron2.structures import BitMasks
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plain.panoptic import panoptic_inference as plain_panoptic
from zsseg_d2.modeling import argmax_blocks, postprocessing
from zsseg_d2.modeling.deformable_attention import MSDeformAttn, ms_deform_attn
from zsseg_d2.modeling.fast_forms import plain_forms
from zsseg_d2.modeling.fcclip.ensemble import apply_void_rule, geometric_ensemble
from zsseg_d2.modeling.fcclip.query_decoder import class_logits
from zsseg_d2.modeling.postprocessing import (
    argmax_masks,
    instance_inference,
    panoptic_inference,
    semantic_inference,
    semantic_labels,
    tight_boxes,
)
from zsseg_d2.modeling.upsampling import Upsampler, downsample_masks
from zsseg_d2.modeling.upsampling_blocks import upsampled_blocks


def test_geometric_ensemble_by_hand():
    inside, outside = torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[0.5, 0.5]]).log()
    mixed = geometric_ensemble(inside, outside, torch.tensor([True, False]), alpha=0.4, beta=0.8)
    assert mixed.exp()[0].tolist() == pytest.approx([0.8**0.6 * 0.5**0.4, 0.2**0.2 * 0.5**0.8], rel=1e-6)
    alone = geometric_ensemble(inside, outside, torch.tensor([True, False]), 0.4, 0.8, valid=torch.tensor([False]))
    assert alone.exp()[0].tolist() == pytest.approx([0.8, 0.2], rel=1e-6)


def test_an_underflowing_probability_gives_no_nan():
    inside = torch.tensor([[0.0, -2000.0]])
    outside = torch.tensor([[-2000.0, 0.0]])
    for valid in (None, torch.tensor([False])):
        mixed = geometric_ensemble(inside, outside, torch.tensor([True, False]), 0.4, 0.8, valid)
        assert torch.isfinite(apply_void_rule(mixed, torch.tensor([0.5]))).all()


def test_void_rule_by_hand():
    scores = apply_void_rule(torch.tensor([[0.75, 0.25]]).log(), torch.tensor([0.2]))
    assert scores.exp()[0].tolist() == pytest.approx([0.6, 0.2, 0.2], rel=1e-5)


def test_class_logits_take_the_best_synonym():
    text = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]), dim=-1)
    logits = class_logits(torch.tensor([[3.0, 4.0]]), text, (2, 1), torch.tensor(10.0))
    assert logits[0].tolist() == pytest.approx([8.0, -6.0, -8.0])


SIZES = {  # masks, padded, image, output
    "whole factor": ((6, 8), (24, 32), (24, 32), (24, 32)),
    "whole factor, cropped": ((6, 8), (24, 32), (23, 29), (23, 29)),
    "factor three": ((5, 7), (15, 21), (14, 20), (14, 20)),
    "no factor": ((6, 8), (24, 30), (22, 30), (22, 30)),
    "larger": ((6, 8), (24, 32), (24, 32), (37, 31)),
    "cropped and smaller": ((6, 8), (24, 32), (21, 31), (13, 17)),
    "one row": ((1, 8), (4, 32), (3, 32), (3, 32)),
    "as it is": ((6, 8), (6, 8), (6, 8), (6, 8)),
    "as it is, larger": ((6, 8), (6, 8), (5, 8), (11, 9)),
}


@pytest.mark.parametrize("low, padded, image, output", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("elements", [1, 500, 10**9])
@pytest.mark.parametrize("queries", [[0, 1, 2, 3], [1, 3, 0]])
def test_blocks_are_the_parts_of_the_whole(low, padded, image, output, elements, queries):
    masks = torch.randn(4, *low, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(masks[queries][None], padded, mode="bilinear")[..., : image[0], : image[1]]
    expected = F.interpolate(expected, output, mode="bilinear")[0]
    actual, times = torch.zeros(len(queries), *output), torch.zeros(output)
    upsample = Upsampler(padded, image, output)
    torch.testing.assert_close(upsample(masks[queries]), expected, rtol=0, atol=2e-6)
    for (rows, columns), block in upsampled_blocks(upsample, masks, torch.tensor(queries), elements):
        actual[:, rows, columns] = block
        times[rows, columns] += 1
    assert bool((times == 1).all())
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [(2, 3), (4, 6), (8, 12), (16, 24), (2, 8), (5, 7), (4, 24)])
def test_downsampling_is_torchs_resizing(size):
    masks = torch.randn(2, 5, 16, 24, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(masks, size=size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(downsample_masks(masks, size), expected, rtol=0, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 20),
    st.sampled_from([0.0, 0.3, 0.8]),
    st.sampled_from([0.0, 0.25]),
    st.sampled_from([(24, 32), (23, 31)]),
)
def test_panoptic_rule_equals_the_plain_form(seed, queries, overlap, threshold, size):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(queries, 4, generator=generator) * 2
    masks = F.interpolate(torch.randn(1, queries, 3, 4, generator=generator) * 4, size=(6, 8), mode="bilinear")[0]
    upsample = Upsampler((24, 32), (24, 32), size)
    expected, wanted = plain_panoptic(scores, masks, upsample, {0}, threshold, overlap)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(argmax_blocks._BLOCK, "cpu", queries * 2 * 8)  # several blocks
        actual, segments = panoptic_inference(scores, masks, upsample, {0}, threshold, overlap)
    assert torch.equal(actual, expected)
    assert segments == wanted


def test_the_first_of_equal_queries_wins():
    masks = torch.full((20, 4, 4), 3.0)
    arguments = torch.full((20,), 0.5), masks, torch.arange(20), Upsampler((16, 16), (16, 16), (16, 16))
    winner, inside, area = argmax_masks(*arguments)
    assert int(winner.max()) == 0 and bool(inside.all()) and area.tolist() == [256] * 20
    with plain_forms():
        assert all(torch.equal(a, b) for a, b in zip(argmax_masks(*arguments), (winner, inside, area)))


@pytest.mark.parametrize(("threshold", "count"), [(0.0, 1), (0.3, 1), (0.5, 0)])
def test_queries_below_the_object_threshold_take_no_part(threshold, count):
    scores, upsample = torch.tensor([[0.4, 0.3, 0.3]]).log(), Upsampler((4, 4), (4, 4), (4, 4))
    _, segments = panoptic_inference(scores, torch.ones(1, 2, 2), upsample, {0}, object_mask_threshold=threshold)
    assert len(segments) == count


def test_panoptic_of_only_void_is_empty():
    scores = torch.tensor([[-5.0, 5.0]])
    segmentation, segments = panoptic_inference(scores, torch.ones(1, 2, 2), Upsampler((4, 4), (4, 4), (4, 4)), {0})
    assert segments == [] and int(segmentation.sum()) == 0


def test_semantic_equals_the_full_einsum():
    torch.manual_seed(0)
    scores, masks = torch.randn(5, 4), torch.randn(5, 4, 6)
    upsample = Upsampler((16, 24), (15, 22), (30, 44))
    expected = torch.einsum("qk,qhw->khw", scores.softmax(-1)[:, :-1], upsample(masks).sigmoid())
    assert torch.allclose(semantic_inference(scores, masks, upsample), expected, atol=1e-6)


@pytest.mark.parametrize("at_a_time", [1, 3, 4, 100])
def test_semantic_labels_are_the_likeliest_classes(monkeypatch, at_a_time):
    """However few classes are compared at a time."""
    torch.manual_seed(0)
    scores, masks = 4 * torch.randn(5, 12), 4 * torch.randn(5, 4, 6)
    upsample = Upsampler((16, 24), (15, 22), (30, 44))
    monkeypatch.setattr(postprocessing, "_SCORES", at_a_time * 30 * 44)
    expected = torch.einsum("qk,qhw->khw", scores.softmax(-1)[:, :-1], upsample(masks).sigmoid()).argmax(0)
    labels = semantic_labels(scores, masks, upsample)
    assert labels.dtype == torch.int32 and torch.equal(labels.long(), expected) and len(labels.unique()) > 2


def test_encoded_instances_are_those_with_masks(monkeypatch):
    torch.manual_seed(0)
    scores, masks = torch.randn(7, 4), torch.randn(7, 4, 6)
    upsample = Upsampler((16, 24), (16, 24), (16, 24))
    monkeypatch.setattr(postprocessing, "_CHUNK", 2 * 16 * 24)
    sizes = []
    encoded = instance_inference(scores, masks, upsample, None, 9, lambda m: sizes.append(len(m)) or list(m))
    plain = instance_inference(scores, masks, upsample, None, 9)
    assert max(sizes) == 2 and not encoded.has("pred_masks") and len(plain) == 9
    assert torch.equal(torch.stack(encoded.encoded_masks).float(), plain.pred_masks)
    assert torch.equal(encoded.scores, plain.scores) and torch.equal(encoded.pred_boxes.tensor, plain.pred_boxes.tensor)


def test_top_k_larger_than_all_pairs():
    upsample = Upsampler((8, 8), (8, 8), (8, 8))
    result = instance_inference(torch.randn(2, 4), torch.randn(2, 2, 2), upsample, None, top=100)
    assert len(result) == 6
    assert len(instance_inference(torch.randn(2, 4), torch.randn(2, 2, 2), upsample, frozenset(), top=100)) == 0


def slow_sample(value, shapes, locations, weights):
    """Deformable attention, one bilinear sample at a time."""
    batch, queries, heads, levels, points, _ = locations.shape
    result = torch.zeros(batch, queries, heads, value.shape[-1])
    starts = [0]
    for h, w in shapes:
        starts.append(starts[-1] + h * w)
    for b in range(batch):
        for q in range(queries):
            for m in range(heads):
                for level, (h, w) in enumerate(shapes):
                    for p in range(points):
                        x = float(locations[b, q, m, level, p, 0]) * w - 0.5
                        y = float(locations[b, q, m, level, p, 1]) * h - 0.5
                        for row, col in ((0, 0), (0, 1), (1, 0), (1, 1)):
                            r, c = math.floor(y) + row, math.floor(x) + col
                            if 0 <= r < h and 0 <= c < w:
                                share = (1 - abs(y - r)) * (1 - abs(x - c))
                                sample = value[b, starts[level] + r * w + c, m]
                                result[b, q, m] += weights[b, q, m, level, p] * share * sample
    return result.flatten(2)


def test_deformable_sampling_equals_the_slow_form():
    torch.manual_seed(0)
    shapes = [(2, 3), (4, 5)]
    value = torch.randn(2, 26, 2, 3)
    locations = torch.rand(2, 4, 2, 2, 3, 2) * 1.4 - 0.2  # some outside
    weights = torch.rand(2, 4, 2, 2, 3)
    expected = slow_sample(value, shapes, locations, weights)
    assert torch.allclose(ms_deform_attn(value, shapes, locations, weights), expected, atol=1e-5)


def test_deformable_attention_needs_divisible_width():
    with pytest.raises(ValueError, match="divisible"):
        MSDeformAttn(30, heads=8)


def test_boxes_are_tight():
    """By hand: one pixel, an L, all of the image, nothing; Detectron2's own for random masks."""
    masks = torch.zeros(4, 5, 7, dtype=torch.bool)
    masks[0, 2, 3] = True
    masks[1, 1:4, 1], masks[1, 3, 1:6] = True, True
    masks[2] = True
    assert tight_boxes(masks).tolist() == [[3, 2, 4, 3], [1, 1, 6, 4], [0, 0, 7, 5], [0, 0, 0, 0]]
    assert tight_boxes(masks[:0]).shape == (0, 4)
    masks = torch.rand(40, 9, 13, generator=torch.Generator().manual_seed(0)) > 0.97
    assert torch.equal(tight_boxes(masks), BitMasks(masks).get_bounding_boxes().tensor)


def test_instances_have_the_boxes_of_their_masks():
    logits = torch.full((2, 8, 8), -9.0)
    logits[0, 2:5, 1:7], logits[1, 6:, 3:] = 9.0, 9.0
    scores = torch.tensor([[9.0, 0, 0], [0, 8.0, 0]])
    result = instance_inference(scores, logits, Upsampler((8, 8), (8, 8), (8, 8)), None, top=2)
    assert result.pred_classes.tolist() == [0, 1]
    assert result.pred_boxes.tensor.tolist() == [[1, 2, 7, 5], [3, 6, 8, 8]]
