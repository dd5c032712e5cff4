"""Panoptic quality: against cityscapesscripts, against a slow plain form, by hand, and across processes."""

from __future__ import annotations

import json
import logging
import math
import socket

import numpy as np
import pytest
import torch
import torch.multiprocessing
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling as oracle
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given, settings
from hypothesis import strategies as st

from zsseg_d2.data import DatasetError, load_cityscapes_panoptic, read_panoptic_png, register_cityscapes_panoptic
from zsseg_d2.data.panoptic.cityscapes import CATEGORIES
from zsseg_d2.evaluation import EvaluationError, PanopticCounts, PanopticQualityEvaluator, count_image
from zsseg_d2.evaluation.panoptic.report import panoptic_report

from ..data.tiny_cityscapes import make_tiny_cityscapes

DATASET = "tests_panoptic_quality"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = make_tiny_cityscapes(tmp_path_factory.mktemp("pq") / "cityscapes", "val", images=8)
    register_cityscapes_panoptic(DATASET, root, "val")
    register_cityscapes_panoptic(f"{DATASET}_003", root, "val", deleted="003")
    yield root
    for name in (DATASET, f"{DATASET}_003"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def prediction(record: dict, rng: np.random.Generator) -> tuple[torch.Tensor, list[dict]]:
    """The annotation, spoilt: shifted, with segments lost, split in two of one class, renamed, painted over."""
    truth = read_panoptic_png(record["pan_seg_file_name"])
    truth = np.roll(truth, rng.integers(0, 3, 2), (0, 1))
    ids, classes, numbers = np.zeros_like(truth), {}, iter(range(1, 999))
    for segment in record["segments_info"]:
        fate, number = rng.random(), next(numbers)
        mask = truth == segment["id"]
        if fate < 0.1 or not mask.any():
            continue
        ids[mask] = number
        classes[number] = int(rng.integers(19)) if fate < 0.2 else segment["category_id"]
        if fate > 0.8:
            classes[other := next(numbers)] = classes[number]
            ids[mask & (rng.random(mask.shape) < 0.3)] = other
    for _ in range(4):  # over anything, void and crowds included
        y, x, h, w = rng.integers(0, 30, 4)
        classes[number := next(numbers)] = int(rng.integers(19))
        ids[y : y + h // 2 + 1, x : x + w + 1] = number
    ids[rng.integers(0, 30) :][:4] = 0
    segments = [{"id": n, "category_id": k, "isthing": k >= 11} for n, k in classes.items() if (ids == n).any()]
    return torch.from_numpy(ids), segments


def predictions(seed: int = 0, name: str = DATASET) -> list[tuple[dict, dict]]:
    rng = np.random.default_rng(seed)
    return [(r, {"panoptic_seg": prediction(r, rng)}) for r in MetadataCatalog.get(name).load_complete_records()]


def evaluate(pairs, evaluator: PanopticQualityEvaluator):
    for record, output in pairs:
        evaluator.process([{"image_id": record["image_id"]}], [output])
    return evaluator.evaluate()


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_cityscapesscripts(root, tmp_path, seed):
    scores = evaluate(predictions(seed), PanopticQualityEvaluator(DATASET, str(tmp_path), save_predictions=True))
    folder = tmp_path / "inference" / DATASET
    report = json.loads((folder / "panoptic_quality.json").read_text())
    truth = root / "gtFine" / "cityscapes_panoptic_val"
    theirs = oracle.evaluatePanoptic(
        f"{truth}.json",
        str(truth),
        str(folder / "predictions" / "predictions.json"),
        str(folder / "predictions"),
        str(tmp_path / "oracle.json"),
    )
    for group in ("All", "Things", "Stuff"):
        for key in ("PQ", "SQ", "RQ"):
            assert report[group][key] == pytest.approx(100 * theirs[group][key.lower()], abs=1e-9)
        assert report[group]["n"] == theirs[group]["n"]
    for category in CATEGORIES:
        for key in ("PQ", "SQ", "RQ"):
            expected = 100 * theirs["per_class"][category.id][key.lower()]
            assert report["per_class"][category.name][key] == pytest.approx(expected, abs=1e-9)
    assert 10 < report["All"]["PQ"] < 90
    assert set(report) == {
        "All",
        "In",
        "Out",
        "Things",
        "Stuff",
        "harmonic_mean",
        "per_class",
        "dataset",
        "num_images",
        "versions",
    }
    assert (report["dataset"], report["num_images"]) == (DATASET, 8)
    assert report["Out"] == report["Things"] and report["In"] == report["Stuff"]
    assert report["harmonic_mean"] == pytest.approx(2 / (1 / report["In"]["PQ"] + 1 / report["Out"]["PQ"]))
    assert dict(scores["panoptic_seg"]) == {
        **{key: report["All"][key] for key in ("PQ", "SQ", "RQ")},
        "PQ_in": report["In"]["PQ"],
        "PQ_out": report["Out"]["PQ"],
        "PQ_hm": report["harmonic_mean"],
        "PQ_th": report["Things"]["PQ"],
        "PQ_st": report["Stuff"]["PQ"],
    }


def slow_counts(gt_ids, gt_segments, pred_ids, pred_segments, num_classes):
    """The definition, with a set of pixels for each segment."""
    counts = PanopticCounts.zeros(num_classes)

    def pixels(ids, number):
        return {p for p, value in np.ndenumerate(ids) if value == number}

    gt = [(s, pixels(gt_ids, s["id"])) for s in gt_segments]
    gt = [(s, p) for s, p in gt if p]
    pred = [(s, p) for s, p in ((s, pixels(pred_ids, s["id"])) for s in pred_segments) if p]
    void = {p for p, _ in np.ndenumerate(gt_ids)} - set().union(*(p for _, p in gt))
    used = set()
    for s, p in gt:
        if s["iscrowd"]:
            continue
        for j, (t, q) in enumerate(pred):
            iou = len(p & q) / len(p | (q - void))
            if s["category_id"] == t["category_id"] and iou > 0.5:
                counts.iou[s["category_id"]] += iou
                counts.tp[s["category_id"]] += 1
                used.add(j)
                break
        else:
            counts.fn[s["category_id"]] += 1
    for j, (t, q) in enumerate(pred):
        crowds = [p for s, p in gt if s["iscrowd"] and s["category_id"] == t["category_id"]]
        if j not in used and len(q & (void | (crowds[-1] if crowds else set()))) / len(q) <= 0.5:
            counts.fp[t["category_id"]] += 1
    return counts


@st.composite
def cases(draw):
    height, width, classes = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 3))

    def side(offset):
        listed = draw(st.lists(st.integers(1, 6).map(lambda i: i * offset), unique=True, max_size=5))
        segments = [
            {"id": i, "category_id": draw(st.integers(0, classes - 1)), "iscrowd": int(draw(st.integers(0, 4)) == 0)}
            for i in listed
        ]
        values = st.sampled_from([0, *listed])
        rows = st.lists(st.lists(values, min_size=width, max_size=width), min_size=height, max_size=height)
        return np.array(draw(rows), dtype=np.int64), segments

    return *side(draw(st.sampled_from([1, 1000, 2**21]))), *side(draw(st.sampled_from([1, 2**21, 2**40]))), classes


@settings(max_examples=300, deadline=None)
@given(cases(), st.integers(0, 99))
def test_equal_to_the_slow_form(case, unlisted):
    gt_ids, gt_segments, pred_ids, pred_segments, classes = case
    if unlisted > 50 and gt_segments:  # a deleted segment: its pixels are void
        gt_segments = gt_segments[1:]
    fast = count_image(gt_ids, gt_segments, pred_ids, pred_segments, classes)
    slow = slow_counts(gt_ids, gt_segments, pred_ids, pred_segments, classes)
    np.testing.assert_allclose(fast.iou, slow.iou, atol=1e-12)
    for key in ("tp", "fp", "fn"):
        assert getattr(fast, key).tolist() == getattr(slow, key).tolist()


@settings(max_examples=100, deadline=None)
@given(cases(), st.randoms())
def test_order_and_numbers_of_segments_do_not_matter(case, random):
    gt_ids, gt_segments, pred_ids, pred_segments, classes = case
    renamed = {0: 0, **{s["id"]: n for n, s in enumerate(pred_segments, start=7)}}
    shuffled = [{**s, "id": renamed[s["id"]]} for s in pred_segments]
    random.shuffle(shuffled)
    a = count_image(gt_ids, gt_segments, pred_ids, pred_segments, classes)
    b = count_image(gt_ids, gt_segments, np.vectorize(renamed.get)(pred_ids), shuffled, classes)
    assert a.iou == pytest.approx(b.iou) and all((getattr(a, k) == getattr(b, k)).all() for k in ("tp", "fp", "fn"))


def test_by_hand():
    """Two rows of eight pixels; sky 0, car 1. Void at the right end, a crowd of cars next to it."""
    gt = np.array([[1, 1, 1, 1, 2, 2, 9, 0]] * 2)
    gt_segments = [
        {"id": 1, "category_id": 0, "iscrowd": 0},  # 8 pixels of sky
        {"id": 2, "category_id": 1, "iscrowd": 0},  # 4 of a car
        {"id": 9, "category_id": 1, "iscrowd": 1},  # 2 of a crowd of cars
    ]
    pred = np.array([[3, 3, 3, 4, 4, 5, 6, 6], [3, 3, 3, 4, 4, 5, 6, 6]])
    pred_segments = [
        {"id": 3, "category_id": 0},  # 6 of the 8 of sky: a match, IoU 6/8
        {"id": 4, "category_id": 1},  # half of it on the car: IoU 2/6, false positive
        {"id": 5, "category_id": 1},  # IoU 2/4 is not above one half: false positive
        {"id": 6, "category_id": 1},  # all in crowd and void: ignored
    ]
    counts = count_image(gt, gt_segments, pred, pred_segments, 3)
    assert counts.iou.tolist() == [0.75, 0, 0]
    assert (counts.tp.tolist(), counts.fp.tolist(), counts.fn.tolist()) == ([1, 0, 0], [0, 2, 0], [0, 1, 0])
    report = panoptic_report(counts, ["sky", "car", "train"], things={1, 2}, out={1, 2})
    assert report["In"] == report["Stuff"] == {"PQ": 75.0, "SQ": 75.0, "RQ": 100.0, "n": 1}
    assert report["Out"] == {"PQ": 0.0, "SQ": 0.0, "RQ": 0.0, "n": 1}  # no train anywhere: not averaged
    assert report["All"]["PQ"] == 37.5 and report["harmonic_mean"] == 0
    assert report["per_class"]["car"] == {
        "PQ": 0.0,
        "SQ": 0.0,
        "RQ": 0.0,
        "n": 1,
        "tp": 0,
        "fp": 2,
        "fn": 1,
        "group": "Out",
        "isthing": True,
    }


def test_void_under_a_prediction_leaves_the_union():
    gt = np.array([[1, 1, 0, 0]])
    counts = count_image(
        gt, [{"id": 1, "category_id": 0, "iscrowd": 0}], np.ones((1, 4), int), [{"id": 1, "category_id": 0}], 1
    )
    assert (counts.iou[0], counts.fp[0]) == (1.0, 0)


@pytest.mark.parametrize(
    "pred, segments, expected",
    [
        (np.ones((2, 5), int), [{"id": 1, "category_id": 0}], "prediction is 5x2 pixels, but the ground truth is 4x2"),
        (np.full((2, 4), 7), [{"id": 1, "category_id": 0}], "segment id 7 is in the predicted map but not in"),
        (np.full((2, 4), -1), [{"id": 1, "category_id": 0}], "segment id -1"),
        (np.ones((2, 4), int), [{"id": 1, "category_id": 3}], "category 3, which is not in .0, 3"),
        (np.ones((2, 4), int), [{"id": 1, "category_id": 0}] * 2, "listed twice"),
        (np.zeros((2, 4), int), [{"id": 0, "category_id": 0}], "the id 0"),
    ],
)
def test_bad_predictions(pred, segments, expected):
    with pytest.raises(ValueError, match=expected):
        count_image(np.zeros((2, 4), int), [], pred, segments, 3)


def test_evaluator_errors_name_the_image(root):
    evaluator = PanopticQualityEvaluator(DATASET)
    record = load_cityscapes_panoptic(root, "val")[0]
    with pytest.raises(EvaluationError, match=f"{record['image_id']}.*3x2 pixels"):
        evaluator.process([record], [{"panoptic_seg": (torch.zeros(2, 3, dtype=torch.int32), [])}])
    with pytest.raises(EvaluationError, match="'elsewhere' is not in the dataset"):
        evaluator.process([{"image_id": "elsewhere"}], [{"panoptic_seg": (torch.zeros(40, 64), [])}])
    with pytest.raises(EvaluationError, match="No image of"):
        evaluator.evaluate()
    with pytest.raises(EvaluationError, match="7 of 8 images .* have no prediction"):
        evaluate(predictions()[:1], evaluator)
    with pytest.raises(EvaluationError, match="There is no class 'pedestrian'"):
        PanopticQualityEvaluator(DATASET, out_classes=["pedestrian"])
    with pytest.raises(EvaluationError, match="There is no class 19"):
        PanopticQualityEvaluator(DATASET, out_classes=[19])
    with pytest.raises(EvaluationError, match="output folder"):
        PanopticQualityEvaluator(DATASET, save_predictions=True)


def test_damaged_ground_truth(tmp_path):
    root = make_tiny_cityscapes(tmp_path, "val", 1)
    name = f"{DATASET}_damaged"
    register_cityscapes_panoptic(name, root, "val")
    try:
        (record,) = DatasetCatalog.get(name)
        with open(record["pan_seg_file_name"], "r+b") as file:
            file.truncate(70)
        with pytest.raises(DatasetError, match="truncated"):
            PanopticQualityEvaluator(name).process([record], [{"panoptic_seg": (torch.zeros(40, 64).int(), [])}])
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_out_classes(root, tmp_path):
    def out(**arguments):
        name = arguments.pop("name", DATASET)
        evaluate(predictions(name=name), PanopticQualityEvaluator(name, str(tmp_path), **arguments))
        report = json.loads((tmp_path / "inference" / name / "panoptic_quality.json").read_text())
        return [k for k, v in report["per_class"].items() if v["group"] == "Out"], report

    things = [c.name for c in CATEGORIES if c.isthing]
    assert out()[0] == things
    assert out(out_classes=["sky", 0])[0] == ["road", "sky"]
    deleted, report = out(name=f"{DATASET}_003")
    assert deleted == ["person", "rider", "car"]  # the deleted ones, judged by the complete annotation
    assert report["All"] == out()[1]["All"] and report["Out"]["n"] == 3
    nothing, report = out(out_classes=[])
    assert nothing == [] and report["Out"] == {"PQ": None, "SQ": None, "RQ": None, "n": 0}
    assert report["harmonic_mean"] is None


def test_detectron2_maps_without_segments_info(root):
    records = load_cityscapes_panoptic(root, "val")
    evaluator = PanopticQualityEvaluator(DATASET)
    for record in records:
        ids = read_panoptic_png(record["pan_seg_file_name"])
        coded = np.full(ids.shape, -1)
        for k, s in enumerate(record["segments_info"]):
            if not s["iscrowd"]:
                coded[ids == s["id"]] = 1000 * s["category_id"] + k
        evaluator.process([record], [{"panoptic_seg": (torch.from_numpy(coded), None)}])
    assert evaluator.evaluate()["panoptic_seg"]["PQ"] == 100


def test_reset_and_the_table(root, caplog):
    evaluator = PanopticQualityEvaluator(DATASET)
    with caplog.at_level(logging.INFO):
        first = evaluate(predictions(0), evaluator)
    assert "traffic light" in caplog.text and "harmonic mean" in caplog.text
    evaluator.reset()
    assert evaluate(predictions(1), evaluator) != first
    evaluator.reset()
    assert evaluate(predictions(0) + predictions(1), evaluator) == first  # an image counts once
    assert not any(math.isnan(v) for v in first["panoptic_seg"].values())


def _process(rank: int, port: int, shares: list[list[int]], folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        pairs = predictions()
        scores = evaluate(
            [pairs[i] for i in shares[rank]], PanopticQualityEvaluator(DATASET, folder, save_predictions=True)
        )
        assert (scores is not None) == (rank == 0)
    finally:
        torch.distributed.destroy_process_group()


def test_two_processes(root, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shares = [[0, 2, 4, 6], [7, 5, 3, 1, 0]]  # image 0 twice, as a padding sampler gives it
    # Forked, because a new interpreter would spend seconds on importing torch.
    torch.multiprocessing.start_processes(
        _process, (port, shares, str(tmp_path / "two")), nprocs=2, start_method="fork"
    )
    evaluate(predictions(), PanopticQualityEvaluator(DATASET, str(tmp_path / "one"), save_predictions=True))
    for file in ("panoptic_quality.json", "predictions/predictions.json"):
        one, two = (tmp_path / n / "inference" / DATASET / file for n in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
