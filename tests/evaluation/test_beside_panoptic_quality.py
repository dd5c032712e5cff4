"""mIoU and AP beside PQ: hand-made cases, pycocotools from files, Detectron2's evaluator, and the whole evaluator."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Instances
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchmetrics.functional.classification import multiclass_jaccard_index

from tests.engine.tiny_task import CLASSES, HEIGHT, WIDTH, register
from zsseg_d2.data import read_panoptic_png
from zsseg_d2.evaluation import PanopticQualityEvaluator
from zsseg_d2.evaluation.completeness import EvaluationError
from zsseg_d2.evaluation.panoptic.average_precision import average_precision, predicted_annotations, truth_annotations
from zsseg_d2.evaluation.panoptic.mean_iou import class_iou, count_pixels

THINGS = (2, 3)


def segment(number: int, category: int, crowd: int = 0) -> dict:
    return {"id": number, "category_id": category, "iscrowd": crowd}


def torchmetrics_iou(classes: np.ndarray, predicted: np.ndarray, num_classes: int) -> list[float]:
    """Return what torchmetrics counts, in percent; it gives 0 to a class that is in neither map, where ours is NaN.

    Args:
        classes: (H, W) of the truth; -1 is void.
        predicted: (H, W).
        num_classes: K.
    """
    found = multiclass_jaccard_index(
        torch.from_numpy(predicted), torch.from_numpy(classes), num_classes, average="none", ignore_index=-1
    )
    there = set(classes[classes >= 0]) | set(predicted[classes >= 0])
    return [100 * float(found[k]) if k in there else math.nan for k in range(num_classes)]


def instances(masks, classes, scores) -> Instances:
    found = Instances(masks[0].shape if len(masks) else (4, 8))
    found.pred_masks = torch.from_numpy(np.array(masks, np.float32).reshape(-1, *found.image_size))
    found.pred_classes, found.scores = torch.tensor(classes, dtype=torch.long), torch.tensor(scores)
    return found


def test_iou_by_hand():
    ids = np.array([[1, 1, 1, 1], [2, 2, 0, 9]])  # 9 is listed nowhere: void, as 0
    predicted = np.array([[0, 0, 0, 1], [1, 3, 2, 2]])
    counts = count_pixels(ids, [segment(1, 0), segment(2, 1, 1)], predicted, 5)
    # class 0: 3 of 4; class 1: 1 of 3; class 2: only in void; class 3: a pixel, none in the truth; class 4: nowhere
    assert class_iou(counts).tolist() == pytest.approx([75, 100 / 3, math.nan, 0, math.nan], nan_ok=True)
    library = torchmetrics_iou(np.array([[0, 0, 0, 0], [1, 1, -1, -1]]), predicted, 5)
    assert class_iou(counts).tolist() == pytest.approx(library, nan_ok=True)
    assert class_iou(counts + counts).tolist() == pytest.approx(class_iou(counts).tolist(), nan_ok=True)
    with pytest.raises(ValueError, match="pixels"):
        count_pixels(ids, [], predicted.T, 5)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6))
def test_iou_pixel_by_pixel(seed):
    rng = np.random.default_rng(seed)
    classes = rng.integers(-1, 3, (6, 7))  # -1: void
    predicted = rng.integers(0, 3, (6, 7))
    found = class_iou(count_pixels(classes + 1, [segment(k + 1, k) for k in range(3)], predicted, 3))
    assert found.tolist() == pytest.approx(torchmetrics_iou(classes, predicted, 3), nan_ok=True)
    for k in range(3):
        pairs = [(t, p) for t, p in zip(classes.flat, predicted.flat) if t >= 0]
        union = sum(k in pair for pair in pairs)
        both = sum(pair == (k, k) for pair in pairs)
        assert found[k] == pytest.approx(100 * both / union if union else math.nan, nan_ok=True)


def test_ap_by_hand():
    ids = np.zeros((4, 8), int)
    ids[:2, :4], ids[2:, :4], ids[:2, 4:] = 1, 2, 3
    truth = truth_annotations(ids, [segment(1, 2), segment(2, 2), segment(3, 0)], THINGS)
    masks = [ids == 1, ids == 3, ids == 2]
    found = predicted_annotations(instances(masks, [2, 2, 0], [0.9, 0.8, 0.7]), THINGS)
    scores = average_precision([(truth, found)], 4, THINGS)
    # One of two is found, before the false one: precision 1 at recalls 0, 0.01 .. 0.5, and 0 above.
    assert scores["AP"].tolist() == pytest.approx([math.nan, math.nan, 100 * 51 / 101, math.nan], nan_ok=True)
    # Three of four pixels are an overlap of 0.75: six of ten thresholds.
    ids[1, 3] = 0
    one = truth_annotations(np.where(ids == 1, 1, 0), [segment(1, 3)], THINGS)
    half = np.zeros((4, 8), bool)
    half[0, :4], half[1, :1] = True, True
    seven = predicted_annotations(instances([half], [3], [0.5]), THINGS)
    scores = average_precision([(one, seven)], 4, THINGS)  # 5 of 7: 0.714
    assert [scores[key][3] for key in ("AP", "AP50", "AP75")] == pytest.approx([50, 100, 0])


def test_ap_without_predictions_things_or_truth():
    ids = np.ones((4, 8), int)
    truth = truth_annotations(ids, [segment(1, 2)], THINGS)
    none = predicted_annotations(instances([], [], []), THINGS)
    assert average_precision([(truth, none)], 4, THINGS)["AP"][2] == 0
    assert np.isnan(average_precision([([], none)], 4, THINGS)["AP"]).all()
    assert np.isnan(average_precision([([], [])], 4, ())["AP"]).all()


def test_ap_of_pycocotools_from_files(tmp_path):
    """Random scenes with crowds: the same numbers as from COCO's two JSON files, class by class."""
    rng = np.random.default_rng(5)
    pairs, annotations, results = [], [], []
    for image in range(6):
        ids = rng.integers(1, 7, (4, 8)).repeat(5, 0).repeat(5, 1)
        listed = [segment(i, 2 + i % 2, int(i == 6)) for i in range(1, 7) if (ids == i).any()]
        masks = [(ids == i) & (rng.random(ids.shape) < rng.uniform(0.5, 1)) for i in range(1, 7)]
        scores, labels = rng.random(6).round(3).tolist(), [2 + (i + (rng.random() < 0.2)) % 2 for i in range(1, 7)]
        pairs.append(
            (truth_annotations(ids, listed, THINGS), predicted_annotations(instances(masks, labels, scores), THINGS))
        )
        for s in listed:
            code = rle.encode(np.asfortranarray(ids == s["id"], np.uint8))
            annotations.append(
                {
                    **s,
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "area": int(rle.area(code)),
                    "bbox": rle.toBbox(code).tolist(),
                    "segmentation": {**code, "counts": code["counts"].decode()},
                }
            )
        for mask, label, score in zip(masks, labels, scores):
            code = rle.encode(np.asfortranarray(mask, np.uint8))
            results.append(
                {
                    "image_id": image,
                    "category_id": label,
                    "score": float(np.float32(score)),
                    "segmentation": {**code, "counts": code["counts"].decode()},
                }
            )
    document = {
        "images": [{"id": k, "height": 20, "width": 40} for k in range(6)],
        "annotations": annotations,
        "categories": [{"id": 2}, {"id": 3}],
        "info": {},
    }
    for name, content in (("truth", document), ("results", results)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    scores = average_precision(pairs, 4, THINGS)
    truth = COCO(str(tmp_path / "truth.json"))
    predicted = truth.loadRes(str(tmp_path / "results.json"))
    for k in (2, 3):
        oracle = COCOeval(truth, predicted, "segm")
        oracle.params.catIds = [k]
        oracle.evaluate()
        oracle.accumulate()
        oracle.summarize()
        assert [scores[key][k] for key in ("AP", "AP50", "AP75")] == pytest.approx((100 * oracle.stats[:3]).tolist())
        assert 0 < scores["AP"][k] < 100


def outputs(name):
    """Give each image its own truth as a prediction, but the car as a person in the second image."""
    for number, record in enumerate(DatasetCatalog.get(name)):
        ids = read_panoptic_png(record["pan_seg_file_name"])
        segments = [dict(s) for s in record["segments_info"]]
        if number == 1:
            segments[2]["category_id"] = 2
        semantic = torch.zeros(4, HEIGHT, WIDTH)
        for s in segments:
            semantic[s["category_id"]][torch.from_numpy(ids == s["id"])] = 1
        things = [s for s in segments if s["isthing"]]
        masks = [ids == s["id"] for s in things]
        found = instances(masks, [s["category_id"] for s in things], [0.5] * len(things))
        yield (
            {"image_id": record["image_id"], "height": HEIGHT, "width": WIDTH},
            {"panoptic_seg": (torch.from_numpy(ids), segments), "sem_seg": semantic, "instances": found},
        )


def test_the_same_table_and_json(tmp_path, caplog):
    name = register("beside_val", tmp_path / "data", count=2)
    caplog.set_level("INFO")
    evaluator = PanopticQualityEvaluator(name, str(tmp_path), beside=["mIoU", "AP"])
    for item, output in outputs(name):
        evaluator.process([item], [output])
    result = evaluator.evaluate()["panoptic_seg"]
    report = json.loads((tmp_path / "inference" / name / "panoptic_quality.json").read_text())
    rows = report["per_class"]
    assert [rows[c]["IoU"] for c in CLASSES] == pytest.approx([100, 100, 0, 50])  # one of two cars of the same size
    assert [rows[c]["AP"] for c in CLASSES] == [None, None, None, pytest.approx(100 * 51 / 101)]
    assert report["All"]["mIoU"] == result["mIoU"] == pytest.approx(62.5)
    assert report["In"]["mIoU"] == 100 and report["Out"]["mIoU"] == 25 and report["Stuff"]["AP"] is None
    assert report["All"]["AP"] == result["AP"] == pytest.approx(100 * 51 / 101)
    assert "IoU" in caplog.text and "62.50" in caplog.text and "50.50" in caplog.text
    plain = PanopticQualityEvaluator(name)
    for item, output in outputs(name):
        plain.process([item], [{"panoptic_seg": output["panoptic_seg"]}])
    assert plain.evaluate()["panoptic_seg"] == {k: v for k, v in result.items() if k not in ("mIoU", "AP")}


def test_what_a_model_must_give(tmp_path):
    name = register("beside_val", tmp_path / "data", count=2)
    with pytest.raises(EvaluationError, match="no measure 'IoU'. Fix: choose of mIoU, AP"):
        PanopticQualityEvaluator(name, beside=["IoU"])
    evaluator = PanopticQualityEvaluator(name, beside=["AP"])
    item, output = next(outputs(name))
    with pytest.raises(EvaluationError, match="the model has no 'instances', which AP scores"):
        evaluator.process([item], [{"panoptic_seg": output["panoptic_seg"]}])
