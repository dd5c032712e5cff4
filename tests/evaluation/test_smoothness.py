"""Pairs of pixels, Welch's test and the effect size: by hand, against plain forms, and on the tiny datasets."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from zsseg_d2.cli import analyze_smoothness
from zsseg_d2.data import register_cityscapes_panoptic, register_phrasecut
from zsseg_d2.evaluation.smoothness.analysis import run_smoothness
from zsseg_d2.evaluation.smoothness.object_maps import merge_instances, object_maps
from zsseg_d2.evaluation.smoothness.pixel_pairs import PixelPairs, differences, draw_pairs
from zsseg_d2.evaluation.smoothness.plot import plot_comparison
from zsseg_d2.evaluation.smoothness.statistics import compare_pairs, explain

from ..data.tiny_cityscapes import make_tiny_cityscapes
from ..data.tiny_phrasecut import make_tiny_phrasecut, task

ROOT = Path(__file__).resolve().parents[2]


def test_differences_do_not_wrap_around():
    grey = np.array([[0, 255, 10]], np.uint8)
    assert differences(grey, np.array([0, 1, 2]), np.array([1, 2, 1])).tolist() == [255, 245, 245]


@st.composite
def maps(draw):
    height, width = draw(st.integers(1, 7)), draw(st.integers(2, 7))
    row = st.lists(st.sampled_from([0, 1, 2, 70_000]), min_size=width, max_size=width)
    return np.array(draw(st.lists(row, min_size=height, max_size=height)), np.int32)


@settings(max_examples=150, deadline=None)
@given(maps(), st.booleans(), st.integers(0, 99))
def test_pairs_are_what_they_are_said_to_be(objects, matched, seed):
    """Grey levels encode the position of a pixel, so that pairs can be read from their differences."""
    labels, sizes = np.unique(objects[objects > 0], return_counts=True)
    pairs = draw_pairs(_codes(objects), objects, 40, np.random.default_rng(seed), matched=matched)
    if len(labels) < 2 or sizes.max() < 2:
        assert pairs is None
        return
    assert len(pairs.within) == len(pairs.across) == 40 - pairs.dropped
    # Codes of one object differ by less than 100, of two objects by more.
    assert (pairs.within < 100).all() and (pairs.across > 100).all()
    assert (pairs.within > 0).all() and (pairs.within_distance >= 1).all()
    if matched:
        assert np.array_equal(pairs.within_distance, pairs.across_distance)
    else:
        assert pairs.dropped == 0
    again = draw_pairs(_codes(objects), objects, 40, np.random.default_rng(seed), matched=matched)
    assert all(np.array_equal(getattr(pairs, k), getattr(again, k)) for k in ("within", "across", "across_distance"))


def _codes(objects: np.ndarray) -> np.ndarray:
    place = np.arange(objects.size).reshape(objects.shape)
    return place + 1000 * np.searchsorted([0, 1, 2, 70_000], objects)


def test_every_pair_is_equally_likely():
    objects = np.array([[1, 1, 1, 2, 2]])
    pairs = draw_pairs(_codes(objects), objects, 60_000, np.random.default_rng(0), matched=False)
    # First pixel: one of five. Within object 1 at distance 1 4 of 6 ordered pairs, at 2 the others; within 2 only 1.
    distances = np.bincount(pairs.within_distance.astype(int)) / 60_000
    assert distances[1:] == pytest.approx([3 / 5 * 4 / 6 + 2 / 5, 3 / 5 * 2 / 6], abs=0.01)
    # Across: all 12 ordered pairs have a first pixel with 1/5 and a second with 1/2 or 1/3.
    distances = np.bincount(pairs.across_distance.astype(int), minlength=5) / 60_000
    weights = np.zeros(5)
    for i in range(3):
        for j in (3, 4):
            weights[j - i] += 1 / 5 * 1 / 2 + 1 / 5 * 1 / 3
    assert distances == pytest.approx(weights, abs=0.01)


def test_matching_takes_distance_out():
    """A ramp without any edge: across objects it differs only because they are farther apart."""
    grey = np.tile(np.arange(120, dtype=np.uint8) * 2, (40, 1))
    objects = np.repeat([[1, 2, 3, 4]], 30, axis=1) + np.zeros((40, 1), int)
    rng = np.random.default_rng(0)
    free, matched = (
        compare_pairs([draw_pairs(grey, objects, 2000, rng, matched=m) for _ in range(5)]) for m in (False, True)
    )
    assert free["cohen_d"] > 1 and free["p"] < 1e-100
    assert matched["cohen_d"] == pytest.approx(0, abs=1e-12) and matched["p"] == pytest.approx(0.5)


def test_matched_pairs_find_objects():
    objects = np.arange(1, 10).repeat(20).reshape(3, 60).repeat(20, axis=0)
    grey = np.random.default_rng(1).integers(0, 256, 10)[objects].astype(np.uint8) // 2 + 5
    images = [draw_pairs(grey, objects, 500, np.random.default_rng(s), matched=True) for s in range(4)]
    result = compare_pairs(images)
    assert result["within"]["mean"] == 0 and result["cohen_d"] > 1 and result["by_image"]["share"] == 1
    assert result["d_interval_images"][0] > 0
    assert "differ more across" in explain({"matched": result, "unmatched": result})


def test_the_sentence_does_not_claim_what_the_interval_does_not():
    result = compare_pairs([_pairs([1, 2, 3], [2, 4, 6, 8])]) | {"d_interval_images": [-0.1, 0.2], "dropped": 1}
    text = explain({"matched": result, "unmatched": result})
    assert "no difference" in text and "25 % of pairs that have no partner at their distance" in text
    assert "differ less" in explain({"matched": result | {"d_interval_images": [-0.3, -0.2]}, "unmatched": result})


def _pairs(within, across) -> PixelPairs:
    within, across = np.array(within), np.array(across)
    return PixelPairs(within, across, np.ones(len(within)), np.ones(len(across)))


def test_by_hand():
    result = compare_pairs([_pairs([1, 2, 3], [2, 4, 6, 8])])
    # Means 2 and 5, variances 1 and 20/3.
    share = (1 / 3, 20 / 12)
    assert result["t"] == pytest.approx(3 / math.sqrt(sum(share)))
    assert result["df"] == pytest.approx(sum(share) ** 2 / (share[0] ** 2 / 2 + share[1] ** 2 / 3))
    assert result["cohen_d"] == pytest.approx(3 / math.sqrt((2 * 1 + 3 * 20 / 3) / 5))
    assert result["within"] == {"n": 3, "mean": 2.0, "std": 1.0} and result["across"]["n"] == 4
    d = result["cohen_d"]
    half = 1.959964 * math.sqrt(7 / 12 + d**2 / 14)
    assert result["d_interval"] == pytest.approx([d - half, d + half], rel=1e-5)
    assert result["p"] == pytest.approx(stats.t.sf(result["t"], result["df"]))
    assert all(map(math.isnan, result["d_interval_images"])) and result["by_image"]["n"] == 1


numbers = st.lists(st.integers(0, 255), min_size=2, max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=4), st.randoms())
def test_against_scipy_and_order(samples, random):
    images = [_pairs(*sample) for sample in samples]
    within, across = (np.concatenate([getattr(i, k) for i in images]) for k in ("within", "across"))
    if within.var() + across.var() == 0:
        with pytest.raises(ValueError, match="equal"):
            compare_pairs(images)
        return
    result = compare_pairs(images)
    theirs = stats.ttest_ind(across, within, equal_var=False)
    assert result["t"] == pytest.approx(float(theirs.statistic))
    assert result["df"] == pytest.approx(float(theirs.df))
    assert result["p"] == pytest.approx(float(theirs.pvalue / 2 if theirs.statistic > 0 else 1 - theirs.pvalue / 2))
    assert np.sign(result["cohen_d"]) == np.sign(np.round(across.mean() - within.mean(), 12))
    random.shuffle(images)
    again = compare_pairs(images)
    assert again["t"] == pytest.approx(result["t"]) and again["cohen_d"] == pytest.approx(result["cohen_d"])
    # Mirrored, across and within swapped: the sign changes.
    swapped = compare_pairs([_pairs(i.across, i.within) for i in images])
    assert swapped["t"] == pytest.approx(-result["t"]) and swapped["p"] == pytest.approx(1 - result["p"])


def test_refusals():
    with pytest.raises(ValueError, match="needs two"):
        compare_pairs([])
    with pytest.raises(ValueError, match="needs two"):
        compare_pairs([_pairs([1], [1, 2])])


def test_the_bootstrap_knows_that_images_differ():
    """Ten images, of which each is all alike: the interval over images is much wider than the one over pairs."""
    rng = np.random.default_rng(0)
    images = [_pairs(rng.normal(10, 1, 1000), rng.normal(10 + shift, 1, 1000)) for shift in rng.normal(1, 3, 10)]
    result = compare_pairs(images)
    wide, narrow = (high - low for low, high in (result["d_interval_images"], result["d_interval"]))
    assert wide > 5 * narrow and result["p"] < 1e-3
    assert compare_pairs(images) == result


def test_merging_instances():
    masks = np.zeros((4, 1, 10), bool)
    masks[0, 0, :4] = masks[1, 0, 1:4] = masks[2, 0, 3:7] = True  # the second is the first again, IoU 3/4
    assert merge_instances(masks, (1, 10)).tolist() == [[1, 1, 1, 0, 2, 2, 2, 0, 0, 0]]
    assert merge_instances([], (1, 2)).tolist() == [[0, 0]]


@pytest.fixture
def datasets(tmp_path):
    register_cityscapes_panoptic(
        "tests_smoothness_city", make_tiny_cityscapes(tmp_path / "city", "val", images=3), "val"
    )
    two = [[[[2, 2], [6, 2], [6, 6], [2, 6]]], [[[12, 2], [19, 2], [19, 9], [12, 9]]]]
    tasks = [task(1, 10, polygons=two), task(1, 11), task(2, 12), task(3, 13, polygons=two)]
    phrases = make_tiny_phrasecut(tmp_path, test=tasks)
    register_phrasecut("tests_smoothness_phrases", phrases, "test")
    register_phrasecut("tests_smoothness_images", phrases, "test", by_image=True)
    yield
    for name in ("city", "phrases", "images"):
        DatasetCatalog.remove(f"tests_smoothness_{name}")
        MetadataCatalog.remove(f"tests_smoothness_{name}")


def test_object_maps(datasets):
    for grey, objects in object_maps("tests_smoothness_city"):
        assert grey.dtype == np.uint8 and grey.shape == objects.shape == (40, 64)
    things = next(object_maps("tests_smoothness_city", 1, things_only=True))[1]
    everything = next(object_maps("tests_smoothness_city", 1))[1]
    assert 0 < len(np.unique(things)) < len(np.unique(everything))
    assert set(np.unique(everything)) - {0} == {
        s["id"] for s in DatasetCatalog.get("tests_smoothness_city")[0]["segments_info"] if not s["iscrowd"]
    }
    found = [np.bincount(objects.ravel()).tolist() for _, objects in object_maps("tests_smoothness_phrases")]
    assert found == [[600 - 25 - 64, 25, 64], [600 - 25, 25], [600 - 25 - 64, 25, 64]]
    assert found == [np.bincount(objects.ravel()).tolist() for _, objects in object_maps("tests_smoothness_images")]


@pytest.mark.parametrize("name", ["city", "phrases"])
def test_run(datasets, tmp_path, name):
    arguments = {"images": 3, "pairs": 200, "seed": 1}
    text = run_smoothness(f"tests_smoothness_{name}", tmp_path / "a", **arguments)
    assert "not independent" in text and "Cohen's d" in text
    report = json.loads((tmp_path / "a" / "smoothness.json").read_text())
    assert {"t", "df", "p", "cohen_d", "d_interval"} <= set(report["matched"]) == set(report["unmatched"])
    assert (report["images"], report["images_without_pairs"]) == ((3, 0) if name == "city" else (2, 1))
    assert (tmp_path / "a" / "smoothness.png").stat().st_size > 5000
    run_smoothness(f"tests_smoothness_{name}", tmp_path / "b", **arguments)
    assert (tmp_path / "a" / "smoothness.json").read_bytes() == (tmp_path / "b" / "smoothness.json").read_bytes()


def test_nothing_to_compare(tmp_path):
    register_phrasecut("tests_smoothness_one", make_tiny_phrasecut(tmp_path, test=[task()]), "test")
    try:
        with pytest.raises(ValueError, match="No image of 'tests_smoothness_one' has two objects"):
            run_smoothness("tests_smoothness_one", tmp_path)
    finally:
        DatasetCatalog.remove("tests_smoothness_one")
        MetadataCatalog.remove("tests_smoothness_one")


def test_plot_of_one_version(tmp_path):
    plot_comparison(tmp_path / "new" / "a.png", {"matched": [_pairs([1, 2], [3, 4])]}, "title")
    assert (tmp_path / "new" / "a.png").exists()


def test_the_tool_refuses_unknown_data_sets(capsys):
    assert analyze_smoothness.main(["--dataset", "nowhere"]) == 2
    assert "'nowhere'" in capsys.readouterr().err
