"""Scores of referring segmentation: by hand, against the definitions pixel by pixel, and their invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zsseg_d2.evaluation.referring.metrics import (
    ACCURACY_AT,
    THRESHOLDS,
    CountTable,
    average_precision,
    choose_threshold,
    clipseg_scores,
    count_mask,
    official_scores,
    pixel_scores,
    task_dice,
    task_iou,
    threshold_index,
)
from zsseg_d2.evaluation.referring.referring_report import SCORES, all_scores, format_table, referring_report


def table_of(*pairs) -> CountTable:
    return CountTable.stack(count_mask(torch.as_tensor(p), np.asarray(t, bool)) for p, t in pairs)


# 4 x 2 pixels. Truth 4 pixels; at 0.5 the prediction has 3, 2 of them right: I = 2, U = 5. Right: 2 + 3 of 8 pixels.
PARTLY = ([[0.9, 0.8, 0.1, 0.0], [0.6, 0.5, 0.2, 0.0]], [[1, 1, 0, 0], [0, 1, 1, 0]])
PERFECT = ([[1.0, 1.0], [0.0, 0.0]], [[1, 1], [0, 0]])  # I = U = 2, 4 pixels
MISSED = ([[0.3, 0.0], [0.0, 0.0]], [[1, 0], [0, 0]])  # nothing predicted: I = 0, U = 1
NOTHING = ([[0.0, 0.0]], [[0, 0]])  # nothing to find, nothing found: 2 pixels
INVENTED = ([[0.0, 0.7]], [[0, 0]])  # nothing to find: I = 0, U = 1, 2 pixels


def test_by_hand():
    table = table_of(PARTLY, PERFECT, MISSED)
    half = threshold_index(0.5)
    assert table.intersection[:, half].tolist() == [2, 2, 0] and table.predicted[:, half].tolist() == [3, 2, 0]
    assert task_iou(table, half).tolist() == [0.4, 1.0, 0.0]
    assert task_dice(table, half).tolist() == pytest.approx([4 / 7, 1.0, 0.0])
    scores = all_scores(table, 0.5)
    assert tuple(scores) == SCORES
    assert scores["mean_iou"] == pytest.approx(100 * 1.4 / 3)
    assert scores["cum_iou"] == pytest.approx(100 * 4 / 8)
    assert [scores[f"acc@{x}"] for x in ACCURACY_AT] == pytest.approx([100 / 3] * 5)
    assert scores["pixel_accuracy"] == pytest.approx(100 * (5 + 4 + 3) / 16)
    assert scores["dice"] == pytest.approx(100 * (4 / 7 + 1) / 3)
    assert scores["iou_fg"] == pytest.approx(100 * 4 / 9)
    assert scores["iou_bin"] == pytest.approx(50 * (4 / 9 + 8 / (1 + 8 + 4)))  # background: 3 + 2 + 3 right, 4 wrong
    assert scores["miou"] == pytest.approx(100 * (2 / 6 + 2 / 3 + 0) / 3)


def test_a_pixel_at_the_threshold_is_not_predicted():
    table = table_of(PARTLY)
    assert table.predicted[0, threshold_index(0.5)] == 3 and table.predicted[0, threshold_index(0.49)] == 4
    assert official_scores(table, 0.49)["mean_iou"] == pytest.approx(100 * 3 / 5)


def test_accuracy_is_strict():
    # IoU exactly 1/2: one pixel of two.
    table = table_of(([[1.0, 0.0]], [[1, 1]]))
    assert official_scores(table)["mean_iou"] == 50 and official_scores(table)["acc@0.5"] == 0
    table = table_of(([[1.0, 1.0, 0.0]], [[1, 1, 1]]))
    assert [official_scores(table)[f"acc@{x}"] for x in ACCURACY_AT] == [100, 100, 0, 0, 0]


def test_empty_masks():
    """Without an intersection IoU and Dice are 0, even if there is nothing to find; only pixel accuracy rewards it."""
    table = table_of(NOTHING)
    assert official_scores(table)["mean_iou"] == 0 and math.isnan(official_scores(table)["cum_iou"])
    assert pixel_scores(table) == {"pixel_accuracy": 100.0, "dice": 0.0}
    assert clipseg_scores(table) == {"iou_fg": 0.0, "iou_bin": pytest.approx(50 * 2 / 3), "miou": 0.0, "ap": 0.0}
    table = table_of(INVENTED)
    assert official_scores(table)["cum_iou"] == 0 and pixel_scores(table) == {"pixel_accuracy": 50.0, "dice": 0.0}
    assert official_scores(table_of(MISSED))["cum_iou"] == 0
    # A task with nothing to find lowers the mean, and the sums only by what was invented.
    scores = official_scores(table_of(PERFECT, NOTHING))
    assert (scores["mean_iou"], scores["cum_iou"]) == (50, 100)
    assert official_scores(table_of(PERFECT, INVENTED))["cum_iou"] == pytest.approx(100 * 2 / 3)
    report = referring_report(table_of(PERFECT, MISSED, NOTHING, INVENTED), [[]] * 4, 0.5)
    assert (report["empty_truth"], report["empty_prediction"]) == (2, 2)


def test_no_tasks():
    scores = all_scores(table_of(), 0.5)
    assert all(math.isnan(value) for value in scores.values())
    assert "mean_iou" in format_table(referring_report(table_of(), [], 0.5))


def test_average_precision_by_hand():
    # Of ten pixels each: probability 0.99 (9 true), 0.5 (5 true), 0.03 (1 true); 15 true in all.
    groups = [(0.99, 9), (0.5, 5), (0.03, 1)]
    probability = [p for p, _ in groups for _ in range(10)]
    truth = [k < n for _, n in groups for k in range(10)]
    table = table_of(([probability], [truth]))
    # Points (recall, precision): (9/16, 9/11), (14/16, 14/21), (15/16, 15/31). Parabola through three points.
    x, y = np.array([9, 14, 15]) / 16, np.array([9 / 11, 14 / 21, 15 / 31])
    integral = np.polyint(np.polyfit(x, y, 2))
    assert average_precision(table) == pytest.approx(100 * (np.polyval(integral, x[2]) - np.polyval(integral, x[0])))
    assert average_precision(table_of(PERFECT)) == 0  # a single point has no area


def test_the_thresholds_are_clipsegs():
    assert np.array_equal(THRESHOLDS[1::2].astype(np.float32), np.linspace(0, 1, 51)[1:-1].astype(np.float32))
    assert [threshold_index(t) for t in (0.01, 0.3, 0.99)] == [0, 29, 98]
    for wrong in (0, 1, 0.505, -0.5, math.nan, math.inf):
        with pytest.raises(ValueError, match="is not one of them"):
            threshold_index(wrong)


@pytest.mark.parametrize(
    "probability, truth, message",
    [
        (torch.zeros(2, 3), np.zeros((3, 2), bool), "prediction is 3x2 pixels, but the ground truth is 2x3"),
        (torch.zeros(1, 2, 3), np.zeros((2, 3), bool), "prediction is 3x2x1"),
        (torch.zeros(0, 3), np.zeros((0, 3), bool), "no pixel"),
        (torch.tensor([[0.1, math.nan]]), np.zeros((1, 2), bool), "probabilities are in"),
        (torch.tensor([[0.1, 1.5]]), np.zeros((1, 2), bool), "from 0.10.* to 1.5"),
        (torch.tensor([[-1.0, 0.5]]), np.zeros((1, 2), bool), "probabilities are in"),
    ],
)
def test_bad_masks(probability, truth, message):
    with pytest.raises(ValueError, match=message):
        count_mask(probability, truth)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float16, torch.bfloat16, torch.float64])
def test_types(dtype):
    truth = np.array([[1, 0], [1, 0]])
    counts = count_mask(torch.tensor([[1, 1], [0, 0]]).to(dtype), truth)
    assert set(counts.intersection) == {1} and set(counts.predicted) == {2} and (counts.truth, counts.pixels) == (2, 4)


def test_choosing_a_threshold():
    # Right from 0.21 to 0.39: at 0.4 the second pixel is lost, at 0.2 a wrong one comes in.
    table = table_of(([[0.9, 0.4, 0.2, 0.0]], [[1, 1, 0, 0]]))
    for metric in ("mean_iou", "cum_iou", "dice"):
        best, curve = choose_threshold(table, "val", metric)
        assert best == 0.39 and max(curve) == 100 and len(curve) == 99
        assert curve[threshold_index(0.4)] < 100 and curve[threshold_index(0.19)] < 100
    assert choose_threshold(table, "val_miniv")[0] == choose_threshold(table, "miniv")[0] == 0.39
    for split in ("test", "train", "val_test", "", None):
        with pytest.raises(ValueError, match="val or miniv only"):
            choose_threshold(table, split)
    with pytest.raises(ValueError, match="metric=.ap.: unknown"):
        choose_threshold(table, "val", "ap")
    with pytest.raises(ValueError, match="at least one task"):
        choose_threshold(table_of(), "val")


@st.composite
def tasks(draw):
    found = []
    for _ in range(draw(st.integers(1, 5))):
        height, width = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        level = st.sampled_from([k / 50 for k in range(51)] + [0.333, 0.005, 0.999])

        def rows(cell, height=height, width=width):
            return draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=height, max_size=height))

        found.append((np.float32(rows(level)), np.array(rows(st.booleans()))))
    return found


def slow_scores(pairs, threshold: float) -> dict[str, float]:
    """The definitions, pixel by pixel."""

    def sums(limit):
        tp = fp = fn = tn = 0
        each = []
        for p, t in pairs:
            a = b = c = d = 0
            for x, y in zip(p.ravel(), t.ravel()):
                found = x > np.float32(limit)
                a, b, c, d = a + (found and y), b + (found and not y), c + (not found and y), d + (not found and not y)
            each.append((a, b, c, d))
            tp, fp, fn, tn = tp + a, fp + b, fn + c, tn + d
        return tp, fp, fn, tn, each

    tp, fp, fn, tn, each = sums(threshold)
    ious = [a / (a + b + c) if a else 0 for a, b, c, _ in each]
    points = set()
    for k in range(1, 50):
        a, b, c, *_ = sums(k / 50)
        if a + b:
            points.add((a / (1 + a + c), a / (1 + a + b)))
    fg = tp / (1 + tp + fp + fn)
    return {
        "mean_iou": sum(ious) / len(ious),
        "cum_iou": tp / (tp + fp + fn) if tp + fp + fn else math.nan,
        **{f"acc@{x}": sum(iou > x for iou in ious) / len(ious) for x in (0.5, 0.6, 0.7, 0.8, 0.9)},
        "pixel_accuracy": (tp + tn) / (tp + fp + fn + tn),
        "dice": sum(2 * a / (2 * a + b + c) if a else 0 for a, b, c, _ in each) / len(each),
        "iou_fg": fg,
        "iou_bin": fg / 2 + tn / (1 + tn + fn + fp) / 2,
        "miou": sum(a / (1 + a + b + c) for a, b, c, _ in each) / len(each),
        "ap": _simpson(sorted(points)),
    }


def _simpson(points: list[tuple[float, float]]) -> float:
    """Parabolas through consecutive triples; over a last single interval the parabola of the last triple."""
    x, y = np.array(points).reshape(-1, 2).T
    if len(x) < 2:
        return 0.0
    if len(x) == 2:
        return (x[1] - x[0]) * (y[0] + y[1]) / 2

    def parabola(k, low, high):
        integral = np.polyint(np.polyfit(x[k : k + 3], y[k : k + 3], 2))
        return np.polyval(integral, high) - np.polyval(integral, low)

    area = sum(parabola(k, x[k], x[k + 2]) for k in range(0, len(x) - 2, 2))
    return area if len(x) % 2 else area + parabola(len(x) - 3, x[-2], x[-1])


@pytest.mark.filterwarnings("ignore:Polyfit")
@settings(max_examples=60, deadline=None)
@given(tasks(), st.sampled_from([0.02, 0.3, 0.5, 0.98]))
def test_equal_to_the_definitions(pairs, threshold):
    fast, slow = all_scores(table_of(*pairs), threshold), slow_scores(pairs, threshold)
    recalls = slow_recalls(pairs)
    for key in SCORES:
        if key == "ap" and len(set(recalls)) < len(recalls):
            continue  # parabolas through points above one another are not defined
        assert fast[key] == pytest.approx(100 * slow[key], rel=1e-6, abs=1e-6, nan_ok=True), key


def slow_recalls(pairs) -> list[float]:
    found = set()
    for k in range(1, 50):
        hits = sum(int((t & (p > np.float32(k / 50))).sum()) for p, t in pairs)
        predicted = sum(int((p > np.float32(k / 50)).sum()) for p, t in pairs)
        if predicted:
            found.add((hits, predicted))
    return [hits for hits, _ in found]


@settings(max_examples=60, deadline=None)
@given(tasks(), st.randoms())
def test_order_and_flips_do_not_matter(pairs, random):
    first = all_scores(table_of(*pairs), 0.5)
    turned = [(p[::-1, ::-1].copy(), t[::-1, ::-1].copy()) for p, t in pairs]
    random.shuffle(turned)
    second = all_scores(table_of(*turned), 0.5)
    assert all(second[key] == pytest.approx(first[key], rel=1e-12, nan_ok=True) for key in SCORES)


@settings(max_examples=60, deadline=None)
@given(tasks())
def test_bounds_and_relations(pairs):
    table = table_of(*pairs)
    iou, dice = task_iou(table, slice(None)), task_dice(table, slice(None))
    assert iou.shape == (len(pairs), 99) and (iou >= 0).all() and (iou <= dice).all() and (dice <= 1).all()
    assert np.allclose(dice, 2 * iou / (1 + iou))
    assert (np.diff(table.predicted, axis=1) <= 0).all() and (table.intersection <= table.truth[:, None]).all()
    accuracies = [official_scores(table)[f"acc@{x}"] for x in ACCURACY_AT]
    assert accuracies == sorted(accuracies, reverse=True)
    scores = all_scores(table, 0.5)
    assert math.isnan(scores["cum_iou"]) or scores["iou_fg"] <= scores["cum_iou"]
    assert scores["miou"] <= scores["mean_iou"] <= scores["dice"]
