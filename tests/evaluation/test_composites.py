"""Scores of composites against slow plain forms, values by hand and torchmetrics; the baseline; streaming."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.image import structural_similarity_index_measure

from zsseg_d2.evaluation import EvaluationError
from zsseg_d2.evaluation.composites.evaluator import CompositeEvaluator
from zsseg_d2.evaluation.composites.scores import (
    boundary_f,
    compare_depths,
    compare_masks,
    depth_scores,
    mask_scores,
    ssim,
)
from zsseg_d2.evaluation.composites.subtraction import best_threshold, count_differences


def masks(seed, size=(12, 15), share=0.4):
    return np.random.default_rng(seed).random(size) < share


def plain_boundary_f(predicted, truth):
    """In loops: boundary pixels one by one, and their distances to all others."""

    def boundary(mask):
        height, width = mask.shape
        return [
            (y, x)
            for y in range(height)
            for x in range(width)
            if mask[y, x]
            and any(
                0 <= v < height and 0 <= u < width and not mask[v, u]
                for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
            )
        ]

    one, other = boundary(predicted), boundary(truth)
    if not one or not other:
        return float(one == other)
    limit = math.ceil(0.008 * math.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2))
    precision = np.mean([any(math.dist(a, b) <= limit for b in other) for a in one])
    recall = np.mean([any(math.dist(a, b) <= limit for a in one) for b in other])
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0]), st.sampled_from([0.0, 0.05, 0.5, 1.0]))
@settings(max_examples=60, deadline=None)
def test_boundary_f_equals_its_plain_form(seed, one, other):
    predicted, truth = masks(seed, share=one), masks(seed + 1, share=other)
    assert boundary_f(predicted, truth) == pytest.approx(plain_boundary_f(predicted, truth))


def test_boundary_f_by_hand():
    """At 96x96 the tolerance is two pixels: 0.008 · 135.8 = 1.09, rounded up."""
    truth = np.zeros((96, 96), bool)
    truth[30:60, 30:60] = True
    assert boundary_f(np.roll(truth, 2, 0), truth) == 1.0
    assert boundary_f(np.roll(truth, 40, 0), truth) == 0.0
    assert boundary_f(np.roll(truth, 3, 0), truth) < 1.0
    assert boundary_f(np.zeros_like(truth), truth) == 0.0
    assert boundary_f(np.ones_like(truth), np.zeros_like(truth)) == 1.0  # the border of the image is no boundary


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_mask_scores_equal_their_plain_form(seed):
    pairs = [(masks(seed + k), masks(seed + 50 + k, share=0.3 * (k % 3))) for k in range(4)]
    found = mask_scores([compare_masks(*pair) for pair in pairs])
    ious, dices, correct, total, inter, union = [], [], 0, 0, 0, 0
    for predicted, truth in pairs:
        i = sum(1 for p, t in zip(predicted.flat, truth.flat) if p and t)
        u = sum(1 for p, t in zip(predicted.flat, truth.flat) if p or t)
        ious.append(i / u if u else 1.0)
        dices.append(2 * i / (u + i) if u else 1.0)
        correct += sum(1 for p, t in zip(predicted.flat, truth.flat) if p == t)
        total, inter, union = total + truth.size, inter + i, union + u
    assert found["mask_iou"] == pytest.approx(100 * np.mean(ious))
    assert found["mask_dice"] == pytest.approx(100 * np.mean(dices))
    assert found["pixel_accuracy"] == pytest.approx(100 * correct / total)
    assert found["cum_iou"] == pytest.approx(100 * inter / union)


def test_depth_scores_by_hand():
    """Two images of two pixels; one depth is unknown."""
    one = compare_depths(np.array([[1.0, 4.0]]), np.array([[2.0, 4.0]]), "metric", 10.0)
    two = compare_depths(np.array([[8.0, 99.0]]), np.array([[10.0, 0.0]]), "metric", 10.0)
    found = depth_scores([one, two])
    assert found["depth_rmse"] == pytest.approx(math.sqrt((1 + 0 + 4) / 3))
    assert found["abs_rel"] == pytest.approx(100 * (0.5 + 0 + 0.2) / 3)
    assert found["delta_1.25"] == pytest.approx(100 / 3)  # 10 / 8 is 1.25, and not below
    assert not any(key.startswith("aligned") for key in found)
    assert found["depth_rmse_percent"] == pytest.approx(100 * found["depth_rmse"] / 8)
    assert found["constant_rmse_percent"] == pytest.approx(100 * np.std([2.0, 4.0, 10.0]) / 8)
    assert compare_depths(np.ones((2, 2)), np.zeros((2, 2)), "metric", 1.0) is None


def test_relative_depth_is_aligned_and_never_mixed_with_metres():
    rng = np.random.default_rng(0)
    truth, predicted = rng.uniform(0.1, 1, (9, 11)), rng.uniform(0.1, 1, (9, 11))
    best = np.polyfit(predicted.ravel(), truth.ravel(), 1)
    aligned = depth_scores([compare_depths(3 * predicted + 7, truth, "relative", 1.0)])
    assert aligned["aligned_rmse"] == pytest.approx(np.sqrt(np.mean((np.polyval(best, predicted) - truth) ** 2)))
    assert aligned["aligned_rmse_percent"] == pytest.approx(100 * aligned["aligned_rmse"] / np.ptp(truth))
    assert not {"depth_rmse", "depth_rmse_percent", "abs_rel", "delta_1.25"} & set(aligned)
    metric = compare_depths(predicted, truth, "metric", 1.0)
    with pytest.raises(ValueError, match="cannot be scored together"):
        depth_scores([metric, compare_depths(predicted, truth, "relative", 1.0)])


@pytest.mark.parametrize("size", [(40, 50), (11, 11)])
def test_ssim_equals_torchmetrics(size):
    rng = np.random.default_rng(1)
    one, two = rng.random(size), rng.random(size)
    tensors = (torch.from_numpy(x)[None, None] for x in (one, two))
    assert ssim(one, two).mean() == pytest.approx(
        float(structural_similarity_index_measure(*tensors, data_range=1.0)), abs=1e-6
    )


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_the_baseline_equals_its_plain_form(seed):
    """Every threshold by itself, on signed differences: unsigned ones would wrap around."""
    rng = np.random.default_rng(seed)
    items = []
    for _ in range(3):
        background = rng.integers(0, 256, (3, 6, 7), dtype=np.uint8)
        truth = rng.random((6, 7)) < 0.3
        image = np.where(truth, rng.integers(0, 256, (3, 6, 7)), background // 2 + 60).astype(np.uint8)
        items.append((image, background, truth))
    counted = [count_differences(*item) for item in items]
    scores = []
    for threshold in range(255):
        ious = []
        for (image, background, truth), part in zip(items, counted):
            predicted = np.zeros_like(truth)
            for y in range(6):
                for x in range(7):
                    pairs = zip(image[:, y, x].tolist(), background[:, y, x].tolist())
                    predicted[y, x] = max(abs(a - b) for a, b in pairs) > threshold
            own = compare_masks(predicted, truth)
            assert (own.intersection, own.predicted, own.truth, own.pixels) == (
                *(part.at(threshold).intersection, part.at(threshold).predicted, part.at(threshold).truth),
                part.at(threshold).pixels,
            )
            ious.append(own.iou)
        scores.append(np.mean(ious))
    assert scores[best_threshold(counted)] == pytest.approx(max(scores))


def item(number, size=(20, 24)):
    rng = np.random.default_rng(number)
    background = rng.integers(0, 200, (3, *size), dtype=np.uint8)
    mask = masks(number, size, 0.1 + 0.1 * (number % 5))
    found = {
        "image_id": 7 * number,
        "background": torch.from_numpy(background),
        "image": torch.from_numpy(np.where(mask, background + 50, background).astype(np.uint8)),
        "mask": torch.from_numpy(mask),
        "depth": torch.from_numpy(rng.uniform(1, 9, size).astype(np.float32)),
        "depth_kind": "metric",
    }
    output = {
        "mask_logits": torch.from_numpy(rng.normal(0, 1, size).astype(np.float32)) + 2 * found["mask"],
        "depth": found["depth"] * torch.from_numpy(rng.uniform(0.7, 1.4, size).astype(np.float32)),
    }
    return found, output


PAIRS = [item(k) for k in range(7)]
IDS = [pair[0]["image_id"] for pair in PAIRS]


def evaluated(batches, ids=IDS, **options):
    evaluator = CompositeEvaluator("tiny", ids, **options)
    for batch in batches:
        evaluator.process(*zip(*batch))
    return evaluator.evaluate()["composites"]


def test_batches_and_their_order_do_not_matter():
    """The original summed means of batches and divided by images."""
    single = evaluated([[pair] for pair in PAIRS])
    assert evaluated([PAIRS[:3], PAIRS[3:]]) == single
    assert evaluated([PAIRS[4:][::-1], PAIRS[:4]]) == single
    means = [compare_masks((o["mask_logits"] > 0).numpy(), i["mask"].numpy()).iou for i, o in PAIRS]
    assert single["mask_iou"] == pytest.approx(100 * np.mean(means))
    errors = torch.cat([(i["depth"].double() - o["depth"].double()).flatten() for i, o in PAIRS])
    assert single["depth_rmse"] == pytest.approx(float(errors.square().mean().sqrt()))


def test_processes_do_not_matter(monkeypatch):
    """Two processes share the images, and a sampler gave one of them to both."""
    single = evaluated([PAIRS])
    parts = []
    for share in (PAIRS[::2], [*PAIRS[1::2], PAIRS[0]]):
        evaluator = CompositeEvaluator("tiny", IDS)
        evaluator.process(*zip(*share))
        parts.append(evaluator._found)
    monkeypatch.setattr("zsseg_d2.evaluation.composites.evaluator.comm.gather", lambda _: parts)
    assert CompositeEvaluator("tiny", IDS).evaluate()["composites"] == single


def test_the_threshold_of_the_baseline_comes_from_val(tmp_path):
    found = evaluated([PAIRS], output_dir=str(tmp_path), validation=lambda: ("other_val", 49))
    report = json.loads((tmp_path / "inference" / "tiny" / "composites.json").read_text())
    baseline = report["subtraction_baseline"]
    assert (baseline["threshold"], baseline["threshold_chosen_on"]) == (49, "other_val")
    assert found["subtraction_iou"] == baseline["mask_iou"] == 100.0  # every foreground is 50 brighter
    worse = evaluated([PAIRS], validation=lambda: ("other_val", 50))
    assert worse["subtraction_iou"] == 0.0
    assert evaluated([PAIRS])["subtraction_iou"] == 100.0  # a val split finds its own


def test_the_scores_of_each_image_are_written(tmp_path):
    scores = evaluated([PAIRS[::-1]], output_dir=str(tmp_path))
    rows = list(csv.DictReader((tmp_path / "inference" / "tiny" / "images.csv").read_text().splitlines()))
    assert [int(row["image_id"]) for row in rows] == IDS
    assert np.mean([float(row["mask_iou"]) for row in rows]) == pytest.approx(scores["mask_iou"], abs=0.01)
    errors = [float((i["depth"].double() - o["depth"].double()).square().mean().sqrt()) for i, o in PAIRS]
    assert [float(row["depth_rmse"]) for row in rows] == pytest.approx(errors, abs=1e-4) and len(set(errors)) > 1


def test_relative_depth_of_an_image_is_fitted_first(tmp_path):
    item, output = PAIRS[0]
    pair = {**item, "depth_kind": "relative"}, output
    scores = evaluated([[pair]], ids=IDS[:1], output_dir=str(tmp_path))
    (row,) = csv.DictReader((tmp_path / "inference" / "tiny" / "images.csv").read_text().splitlines())
    assert float(row["depth_rmse"]) == pytest.approx(scores["aligned_rmse"], abs=1e-4)
    metric = evaluated([[PAIRS[0]]], ids=IDS[:1])["depth_rmse"]
    assert metric > scores["aligned_rmse"] + 0.01, "the fit makes a difference"


def test_a_mask_alone_has_no_depth_scores(tmp_path):
    pairs = [(i, {"mask_logits": o["mask_logits"]}) for i, o in PAIRS]
    found = evaluated([pairs], output_dir=str(tmp_path))
    assert not any("depth" in key or key == "abs_rel" for key in found)
    assert (tmp_path / "inference" / "tiny" / "images.csv").read_text().splitlines()[1].endswith(",")


def test_what_does_not_fit_is_told():
    (one, output), *_ = PAIRS
    with pytest.raises(EvaluationError, match="(?s)7.*tiny"):
        evaluated([PAIRS[:1]])
    with pytest.raises(EvaluationError, match=r"Image 0 of 'tiny': the prediction has \(4, 4\) pixels"):
        evaluated([[(one, {**output, "mask_logits": torch.zeros(4, 4)})]])
    with pytest.raises(EvaluationError, match="not finite"):
        evaluated([[(one, {**output, "depth": torch.full((20, 24), math.nan)})]])
