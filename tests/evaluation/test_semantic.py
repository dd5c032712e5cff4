"""The scores of semantic segmentation against Detectron2's evaluator, loops over pixels, and values by hand."""

from __future__ import annotations

import json
import logging
from itertools import product

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.tiny_semantic import label_map, write_pair
from zsseg_d2.data import register_dataset_file, unregister_panoptic_family
from zsseg_d2.data.panoptic.family import PANOPTIC_FAMILIES
from zsseg_d2.evaluation import EvaluationError, SemanticEvaluator
from zsseg_d2.evaluation.panoptic.mean_iou import PixelCounts
from zsseg_d2.evaluation.semantic import semantic_report

NAMES = ("road", "sky", "tree", "car", "boat")
YAML = f"""\
name: stripes
images: images/{{split}}
labels: labels/{{split}}
ignore: 65535
splits: [val]
vocabulary: [{", ".join(NAMES)}]
out: [car, boat]
"""


@pytest.fixture
def stripes(tmp_path):
    """Three images of four classes; nothing is a boat, and the first one's label map has 16 bits as all others."""
    for k in range(3):
        labels = label_map(k, (0, 1, 3, 2)[: 2 + k], 65535)
        write_pair(tmp_path / "images" / "val", tmp_path / "labels" / "val", f"image_{k}", labels, ".tif", True)
    (tmp_path / "stripes.yaml").write_text(YAML)
    register_dataset_file(tmp_path / "stripes.yaml")
    yield "stripes_val"
    if "stripes" in PANOPTIC_FAMILIES:
        unregister_panoptic_family("stripes")


def predictions(name: str):
    """Random scores of every pixel, the right class more often than not."""
    from PIL import Image  # the label maps are read here without the package

    for k, record in enumerate(DatasetCatalog.get(name)):
        truth = np.asarray(Image.open(record["sem_seg_file_name"])).astype(np.int64)
        scores = torch.rand(len(NAMES), *truth.shape, generator=torch.Generator().manual_seed(k))
        scores[torch.from_numpy(np.where(truth == 65535, 0, truth)), *np.indices(truth.shape)] += 0.4
        height, width = truth.shape
        item = {"image_id": record["image_id"], "file_name": record["file_name"], "height": height, "width": width}
        yield item, {"sem_seg": scores}


def test_the_same_scores_as_detectron2(stripes, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    own = SemanticEvaluator(stripes, str(tmp_path / "out"), out=(3, 4), save_predictions=True)
    other = SemSegEvaluator(stripes, distributed=False)
    other.reset()
    for item, output in predictions(stripes):
        own.process([item], [output])
        own.process([item], [output])  # an image that a sampler gives twice
        other.process([item], [output])
    found, expected = own.evaluate()["sem_seg"], other.evaluate()["sem_seg"]
    for key in ("mIoU", "fwIoU", "mACC", "pACC"):
        assert found[key] == pytest.approx(expected[key]) and 5 < found[key] < 95
    report = json.loads((tmp_path / "out" / "inference" / stripes / "semantic_segmentation.json").read_text())
    for name in NAMES[:4]:  # Detectron2 has no IoU of a boat, which is predicted only, but counts it as 0 in the mean
        assert report["per_class"][name]["IoU"] == pytest.approx(expected[f"IoU-{name}"])
        assert report["per_class"][name]["accuracy"] == pytest.approx(expected[f"ACC-{name}"])
    assert report["per_class"]["boat"] == {"IoU": 0, "accuracy": None, "pixels": 0, "group": "Out"}
    assert report["All"]["n"] == 5 and report["Out"]["n"] == 2 and found["mIoU_out"] == report["Out"]["mIoU"]
    assert "mean, Out" in caplog.text
    saved = sorted((tmp_path / "out" / "inference" / stripes / "predictions").iterdir())
    for path, (item, output) in zip(saved, predictions(stripes), strict=True):
        from PIL import Image

        assert path.stem == item["image_id"]
        assert np.array_equal(np.asarray(Image.open(path)), output["sem_seg"].argmax(0))


def test_group_means_by_hand():
    counts = PixelCounts(both=np.array([6, 0, 2, 0]), truth=np.array([8, 2, 2, 0]), predicted=np.array([7, 0, 4, 0]))
    report = semantic_report(counts, ["a", "b", "c", "d"], out=[1, 3])
    iou = [100 * 6 / 9, 0.0, 100 * 2 / 4]
    assert report["All"]["mIoU"] == pytest.approx(sum(iou) / 3) and report["All"]["n"] == 3
    assert report["In"]["mIoU"] == pytest.approx((iou[0] + iou[2]) / 2)
    assert report["Out"] == {"mIoU": 0.0, "mACC": 0.0, "n": 1}
    assert report["All"]["fwIoU"] == pytest.approx((8 * iou[0] + 2 * iou[2]) / 12)
    assert report["All"]["pACC"] == pytest.approx(100 * 8 / 12)
    assert report["All"]["mACC"] == pytest.approx(100 * (6 / 8 + 0 + 1) / 3)
    empty = semantic_report(PixelCounts(*np.zeros((3, 2), np.int64)), ["a", "b"], out=[])
    assert np.isnan([empty["All"][key] for key in ("mIoU", "mACC", "fwIoU", "pACC")]).all()


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_scores_against_loops_over_pixels(data):
    classes, pixels = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 12))
    truth = data.draw(st.lists(st.integers(0, classes), min_size=pixels, max_size=pixels))  # `classes`: ignored
    found = data.draw(st.lists(st.integers(0, classes - 1), min_size=pixels, max_size=pixels))
    counted = [(t, f) for t, f in zip(truth, found) if t < classes]
    rows = [[sum(t == i and f == j for t, f in counted) for j in range(classes)] for i in range(classes)]
    counts = PixelCounts(
        np.array([rows[k][k] for k in range(classes)]),
        np.array([sum(rows[k]) for k in range(classes)]),
        np.array([sum(row[k] for row in rows) for k in range(classes)]),
    )
    report = semantic_report(counts, [str(k) for k in range(classes)], out=[])
    ious, accuracies = [], []
    for k in range(classes):
        union = sum(rows[i][j] for i, j in product(range(classes), repeat=2) if k in (i, j))
        ious += [100 * rows[k][k] / union] if union else []
        accuracies += [100 * rows[k][k] / sum(rows[k])] if sum(rows[k]) else []
    if counted:
        assert report["All"]["mIoU"] == pytest.approx(sum(ious) / len(ious))
        assert report["All"]["mACC"] == pytest.approx(sum(accuracies) / len(accuracies))
        assert report["All"]["pACC"] == pytest.approx(100 * sum(t == f for t, f in counted) / len(counted))


def test_what_is_refused(stripes, tmp_path):
    evaluator = SemanticEvaluator(stripes)
    item, output = next(predictions(stripes))
    with pytest.raises(EvaluationError, match="'image_0' of 'stripes_val': the model has no 'sem_seg'"):
        evaluator.process([item], [{}])
    with pytest.raises(EvaluationError, match="the semantic output has .47, 64. pixels, the annotation .48, 64."):
        evaluator.process([item], [{"sem_seg": output["sem_seg"][:, :-1]}])
    evaluator.process([item], [output])
    with pytest.raises(EvaluationError, match="2 of 3 images of 'stripes_val' have no prediction"):
        evaluator.evaluate()
    with pytest.raises(EvaluationError, match="Fix: set OUTPUT_DIR"):
        SemanticEvaluator(stripes, save_predictions=True)
    assert MetadataCatalog.get(stripes).ignore_label == 65535
