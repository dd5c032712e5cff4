"""Oracles of classes and masks, on maps made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given
from hypothesis import strategies as st

from tests.data.tiny_cityscapes import make_tiny_cityscapes
from zsseg_d2.data.panoptic.cityscapes import register_cityscapes_panoptic
from zsseg_d2.data.panoptic.png import read_panoptic_png
from zsseg_d2.evaluation import PanopticQualityEvaluator
from zsseg_d2.evaluation.panoptic.oracle import TrueClassEvaluator, true_classes, with_classes

# Annotated: road (class 0, stuff) on the left, two cars (class 13) on the right, one of them void below.
TRUTH = np.array(
    [
        [7, 7, 7, 7, 20, 20],
        [7, 7, 7, 7, 20, 20],
        [7, 7, 7, 7, 21, 21],
        [7, 7, 7, 7, 0, 0],
    ]
)
ANNOTATED = [{"id": 7, "category_id": 0}, {"id": 20, "category_id": 13}, {"id": 21, "category_id": 13}]
# Predicted: the road in two halves, sky and building; the cars as one train; something in void alone.
PREDICTED = np.array(
    [
        [1, 1, 2, 2, 3, 3],
        [1, 1, 2, 2, 3, 3],
        [1, 1, 2, 2, 3, 3],
        [1, 1, 2, 2, 4, 4],
    ]
)
FOUND = [{"id": k, "category_id": c} for k, c in ((1, 10), (2, 2), (3, 16), (4, 5))]


def test_each_segment_takes_the_class_that_it_overlaps_most():
    assert true_classes(TRUTH, ANNOTATED, PREDICTED, FOUND) == [0, 0, 13, 5]
    assert true_classes(TRUTH, ANNOTATED, np.zeros_like(TRUTH), []) == []
    assert true_classes(TRUTH, [], PREDICTED, FOUND) == [10, 2, 16, 5], "all is void"


def test_stuff_of_one_class_becomes_one_segment_and_things_do_not():
    ids, segments = with_classes(PREDICTED, FOUND, [0, 0, 13, 13], things={13})
    assert [(s["category_id"], s["isthing"]) for s in segments] == [(0, False), (13, True), (13, True)]
    assert ids.tolist() == [[1, 1, 1, 1, 2, 2]] * 3 + [[1, 1, 1, 1, 3, 3]]
    ids, segments = with_classes(TRUTH, ANNOTATED[:1], [4], things={13})
    assert segments == [{"id": 1, "category_id": 4, "isthing": False}] and (ids > 0).sum() == 16


@given(st.integers(0, 2**32 - 1))
def test_the_overlap_is_that_of_a_loop_over_pixels(seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, 4, (5, 7)), rng.integers(0, 4, (5, 7))
    annotated = [{"id": k, "category_id": 10 + k} for k in (1, 2)]  # 3 is not listed: void
    found = [{"id": k, "category_id": 20 + k} for k in (1, 2, 3)]
    expected = []
    for segment in found:
        votes = [0, 0]
        for t, p in zip(truth.ravel(), predicted.ravel()):
            if p == segment["id"] and t in (1, 2):
                votes[t - 1] += 1
        best = 0 if votes[0] >= votes[1] else 1
        expected.append(11 + best if max(votes) else segment["category_id"])
    assert true_classes(truth, annotated, predicted, found) == expected


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = make_tiny_cityscapes(tmp_path_factory.mktemp("oracles"), "val", images=2)
    register_cityscapes_panoptic("oracles_val", root, "val")
    yield "oracles_val"
    DatasetCatalog.remove("oracles_val")
    MetadataCatalog.remove("oracles_val")


def evaluated(kind, dataset, output) -> dict:
    evaluator = kind(dataset)
    for record in MetadataCatalog.get(dataset).load_complete_records():
        evaluator.process([{"image_id": record["image_id"]}], [{"panoptic_seg": output(record)}])
    (scores,) = evaluator.evaluate().values()
    return scores


def test_true_classes_repair_wrong_ones_and_nothing_else(dataset):
    """Perfect masks of a wrong class: 0 as predicted, 100 with true classes. Without the things: their PQ stays 0."""

    def wrong(record, keep=lambda segment: True):
        ids = read_panoptic_png(record["pan_seg_file_name"])
        chosen = [s for s in record["segments_info"] if not s["iscrowd"] and keep(s)]
        ids = np.where(np.isin(ids, [s["id"] for s in chosen]), ids, 0)
        return torch.from_numpy(ids), [{**s, "category_id": (s["category_id"] + 1) % 19} for s in chosen]

    assert evaluated(PanopticQualityEvaluator, dataset, wrong)["PQ"] == 0
    assert evaluated(TrueClassEvaluator, dataset, wrong)["PQ"] == pytest.approx(100)
    stuff = evaluated(TrueClassEvaluator, dataset, lambda record: wrong(record, lambda s: s["category_id"] < 11))
    assert (stuff["PQ_st"], stuff["PQ_th"]) == (pytest.approx(100), 0)
