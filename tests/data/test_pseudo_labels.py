"""Pseudo-labels of one image: a case worked out by hand, and what must hold whatever is predicted or deleted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zsseg_d2.data.panoptic.cityscapes import CATEGORIES, CITYSCAPES
from zsseg_d2.data.pseudo_labels.targets import GROUND_TRUTH, ZERO_SHOT, Thresholds, add_pseudo_labels

ANY = Thresholds(min_score=0.0, min_area=0, min_visible=0.0)
CLASS = {c.name: k for k, c in enumerate(CATEGORIES)}


def segment(number: int, name: str, score: float | None = None) -> dict:
    found = {"id": number, "category_id": CLASS[name], "isthing": CATEGORIES[CLASS[name]].isthing}
    return found | ({"score": score} if score is not None else {"iscrowd": 0, "area": 1, "bbox": [0, 0, 1, 1]})


def label(ids, kept, predicted_ids, predicted, deleted=CITYSCAPES.deleted_ids("008"), thresholds=ANY):
    return add_pseudo_labels(
        np.array(ids),
        kept,
        np.array(predicted_ids),
        predicted,
        deleted=deleted,
        categories=CATEGORIES,
        thresholds=thresholds,
    )


def test_a_case_worked_out_by_hand():
    ids = [
        [7, 7, 7, 7, 0, 0],
        [7, 7, 24_000, 24_000, 0, 0],  # 24000 and 26007 are deleted: void, like 0
        [23, 26_007, 26_007, 24_000, 0, 9],
        [23, 26_007, 26_007, 0, 0, 0],
    ]
    kept = [segment(23, "sky"), segment(7, "road")]
    predicted_ids = [
        [1, 1, 2, 2, 2, 2],  # 2 is a car, half of it on road
        [1, 1, 2, 2, 2, 2],
        [3, 3, 3, 4, 4, 5],  # 3 is a person, 1 of its 3 pixels on sky; 4 a car of two pixels; 5 of no listed segment
        [3, 3, 3, 6, 6, 6],  # 6 is a building, which is not deleted
    ]
    predicted = [
        segment(1, "road", 0.9),
        segment(4, "car", 0.75),
        segment(2, "car", 0.5000001),
        segment(3, "person", 0.9),
        segment(6, "building", 0.9),
    ]
    found, segments = label(ids, kept, predicted_ids, predicted)
    assert found.dtype == np.int32 and found.tolist() == [
        [7, 7, 7, 7, 26_001, 26_001],
        [7, 7, 26_001, 26_001, 26_001, 26_001],
        [23, 24_000, 24_000, 26_000, 26_000, 0],
        [23, 24_000, 24_000, 0, 0, 0],
    ]
    assert segments[:2] == [{**s, "score": None, "origin": GROUND_TRUTH} for s in kept]
    common = {"iscrowd": 0, "isthing": True, "origin": ZERO_SHOT}
    assert segments[2:] == [
        {"id": 26_000, "category_id": CLASS["car"], "area": 2, "bbox": [3, 2, 2, 1], "score": 0.75, **common},
        {"id": 26_001, "category_id": CLASS["car"], "area": 6, "bbox": [2, 0, 4, 2], "score": 0.5, **common},
        {"id": 24_000, "category_id": CLASS["person"], "area": 4, "bbox": [1, 2, 2, 2], "score": 0.9, **common},
    ]

    def kept_labels(**limits) -> list[int]:
        return [s["id"] for s in label(ids, kept, predicted_ids, predicted, thresholds=Thresholds(**limits))[1][2:]]

    assert kept_labels(min_score=0.6, min_area=0, min_visible=0.0) == [26_000, 24_000]
    assert kept_labels(min_score=0.75, min_area=0, min_visible=0.0) == [26_000, 24_000]
    assert kept_labels(min_score=0.0, min_area=5, min_visible=0.0) == [26_000]
    assert kept_labels(min_score=0.0, min_area=4, min_visible=0.76) == []  # car 6 of 8 is 0.75, person 4 of 6 is 0.67
    assert kept_labels(min_score=0.0, min_area=0, min_visible=0.75) == [26_000, 26_001]


def test_stuff_is_one_segment_with_its_label_id():
    ids, kept = [[7, 0, 0, 0, 0]], [segment(7, "road")]
    predicted = [segment(1, "sky", 0.25), segment(2, "car", 0.9), segment(3, "sky", 0.75)]
    deleted = (CLASS["sky"], CLASS["car"])
    found, segments = label(ids, kept, [[1, 1, 2, 3, 3]], predicted, deleted, Thresholds(0.7, 3, 0.75))
    assert found.tolist() == [[7, 23, 0, 23, 23]]
    assert [(s["id"], s["area"], s["bbox"], s["score"]) for s in segments[1:]] == [(23, 3, [1, 0, 4, 1], 0.75)]


def test_ids_that_kept_segments_have_are_not_given_again():
    kept = [segment(26_000, "rider"), segment(23, "road"), segment(26_002, "wall")]
    predicted = [segment(k, "car", 0.9) for k in (1, 2)] + [segment(3, "sky", 0.9)]
    found, _ = label(
        [[26_000, 23, 26_002, 0, 0, 0]], kept, [[0, 0, 0, 1, 2, 3]], predicted, (CLASS["car"], CLASS["sky"])
    )
    assert found.tolist() == [[26_000, 23, 26_002, 26_001, 26_003, 23_000]]


def test_a_box_around_runs_that_go_on_in_the_next_row():
    _, segments = label(np.zeros((3, 4)), [], [[0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], [segment(1, "car", 0.9)])
    assert segments[0]["bbox"] == [0, 0, 4, 2]


def test_scores_that_are_no_numbers_and_maps_of_other_sizes():
    assert label([[0]], [], [[1]], [segment(1, "car", float("nan"))], thresholds=ANY)[1] == []
    with pytest.raises(ValueError, match=r"prediction has \(1, 2\) pixels"):
        label([[0]], [], [[1, 1]], [])


# Whatever is predicted or deleted: rider is kept, all other things are deleted, and a kept id stands where a car's would.

KEPT = (segment(7, "road"), segment(23, "sky"), segment(25_000, "rider"), segment(26_000, "wall"))
DELETED = tuple(k for k in CITYSCAPES.deleted_ids("008") if k != CLASS["rider"])
SHAPE = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)


@st.composite
def scenes(draw):
    """Kept ids with 0 elsewhere, a predicted map, its segments, thresholds."""
    shape = draw(SHAPE)
    ids = draw(hnp.arrays(np.int32, shape, elements=st.sampled_from([0, *(s["id"] for s in KEPT)])))
    predicted_ids = draw(hnp.arrays(np.int32, shape, elements=st.integers(0, 6)))
    names = st.sampled_from(["road", "sky", "person", "rider", "car", "bus"])
    scores = st.floats(0, 1, width=32)
    numbers = draw(st.lists(st.integers(1, 6), unique=True))
    predicted = [segment(n, draw(names), draw(scores)) for n in numbers]
    thresholds = Thresholds(
        draw(st.sampled_from([0.0, 0.5])), draw(st.integers(0, 4)), draw(st.sampled_from([0.0, 0.5, 1.0]))
    )
    return ids, [s for s in KEPT if s["id"] in ids], predicted_ids, predicted, thresholds


@settings(max_examples=150, deadline=None)
@given(scenes(), st.data())
def test_labels_of_deleted_classes_change_nothing(scene, data):
    ids, kept, *rest = scene
    hidden = hnp.arrays(np.int32, ids.shape, elements=st.sampled_from([0, 24, 24_000, 24_001, 26_001, 31_005, 33_000]))
    one, two = (np.where(ids == 0, data.draw(hidden), ids) for _ in range(2))
    (first, first_segments), (second, second_segments) = (
        add_pseudo_labels(i, kept, *rest[:2], deleted=DELETED, categories=CATEGORIES, thresholds=rest[2])
        for i in (one, two)
    )
    assert np.array_equal(first, second) and json.dumps(first_segments) == json.dumps(second_segments)


@settings(max_examples=150, deadline=None)
@given(scenes())
def test_the_result_is_a_valid_panoptic_map(scene):
    ids, kept, predicted_ids, predicted, limits = scene
    found, segments = label(ids, kept, predicted_ids, predicted, DELETED, limits)
    assert np.array_equal(found[ids != 0], ids[ids != 0])  # kept pixels stay
    numbers = [s["id"] for s in segments]
    assert len(set(numbers)) == len(numbers) and set(numbers) == set(np.unique(found).tolist()) - {0}
    assert segments[: len(kept)] == [{**s, "score": None, "origin": GROUND_TRUTH} for s in kept]
    wanted = {s["id"]: s for s in predicted}
    for new in segments[len(kept) :]:
        mask = found == new["id"]
        ys, xs = np.nonzero(mask)
        assert new["area"] == mask.sum() >= max(limits.min_area, 1)
        assert new["bbox"] == [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
        (source,) = np.unique(predicted_ids[mask])  # a thing comes from one predicted segment
        assert wanted[source]["category_id"] == new["category_id"] in DELETED
        assert new["id"] // 1000 == CATEGORIES[new["category_id"]].id
        assert abs(new["score"] - wanted[source]["score"]) < 1e-6 and wanted[source]["score"] >= limits.min_score
        assert np.array_equal(mask, (predicted_ids == source) & (ids == 0))  # all void pixels of it, and no others
        assert mask.sum() >= limits.min_visible * (predicted_ids == source).sum()
