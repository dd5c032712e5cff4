"""Semantic datasets from the command line: FC-CLIP's own files, a dataset of one's own, and semantic output alone."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from PIL import Image

from tests.data.tiny_garden import make_garden
from tests.data.tiny_semantic import label_map, write_pair
from tests.engine.test_config_keys import FCCLIP_FILES
from zsseg_d2.cli import delete_classes, make_pseudo_labels, train_net
from zsseg_d2.data import PANOPTIC_FAMILIES, unregister_panoptic_family

SMALL = ("MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0", "INPUT.MIN_SIZE_TEST", "64")
MINI = ("MODEL.WEIGHTS", "zsseg_d2://weights/mini_fcclip.safetensors")
SEMANTIC_ONLY = ("MODEL.MASK_FORMER.TEST.PANOPTIC_ON", "False", "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", "True")


@pytest.fixture(autouse=True)
def forget(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    for prefix in {"garden", "plots"} & set(PANOPTIC_FAMILIES):
        unregister_panoptic_family(prefix)


def table(output, dataset: str) -> dict:
    return json.loads((output / "inference" / dataset / "semantic_segmentation.json").read_text())


def mean_iou(truths, found, ignored: int) -> float:
    """mIoU in percent of lists of maps, by sets of pixels."""
    ious = []
    for value in sorted({int(v) for t in (*truths, *found) for v in np.unique(t)} - {ignored}):
        pairs = [(t == value, (f == value) & (t != ignored)) for t, f in zip(truths, found)]
        union = sum(int((t | f).sum()) for t, f in pairs)
        ious += [100 * sum(int((t & f).sum()) for t, f in pairs) / union] if union else []
    return sum(ious) / len(ious)


def test_a_file_of_fcclip_evaluates_ade20k_full(tmp_path, monkeypatch):
    """847 classes, label maps of 16 bits in TIFF, 65535 ignored, and no panoptic maps; on the embedded tower."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    root = tmp_path / "datasets" / "ADE20K_2021_17_01"
    places = root / "images_detectron2" / "validation", root / "annotations_detectron2" / "validation"
    truths = [label_map(k, (0, 2, 4, 14, 300, 846), 65535) for k in range(2)]
    for k, labels in enumerate(truths):
        write_pair(*places, f"ADE_val_{k:08d}", labels, ".tif", True)
    for name, text in FCCLIP_FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / "fcclip" / "fcclip_convnext_large_eval_a847.yaml"), "towers/mini.yaml"]
    more = ("OUTPUT_DIR", str(tmp_path / "out"), "ZSSEG.TEXT_CACHE", "")
    train_net.main(["--config-file", *files, "--eval-only", "--save-predictions", *SMALL, *MINI, *more])
    name = "openvocab_ade20k_full_sem_seg_val"
    found = table(tmp_path / "out", name)
    assert len(found["per_class"]) == 847 and found["num_images"] == 2
    assert {k: v["pixels"] for k, v in found["per_class"].items() if v["pixels"]}.keys() == {
        *("wall", "sky", "road", "car", "altar", "adding machine")
    }
    saved = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "out/inference" / name / "predictions").iterdir())]
    assert saved[0].dtype == np.uint16
    assert found["All"]["mIoU"] == pytest.approx(mean_iou(truths, saved, 65535))


def test_a_vocabulary_of_fcclip_for_ade20k_full(tmp_path, caplog):
    """FC-CLIP's words name several classes "pot", and call classes as other classes of the dataset are called."""
    from zsseg_d2 import Vocabulary
    from zsseg_d2.class_sets import ClassSets

    own = Vocabulary.load("ade20k_full")
    words = [", ".join(reversed(entry)) for entry in own.classes]
    words[0], words[188], words[130] = "wall,walls,interior wall", "pot", "pot,flowerpot"
    words[49], words[313] = "pedestal", "pedestal,plinth,footstall"
    path = tmp_path / "words.txt"
    path.write_text("0:invalid_class_id\n" + "\n".join(f"{k}:{entry}" for k, entry in enumerate(words, start=1)))
    test = "openvocab_ade20k_full_sem_seg_val"
    classes = ClassSets(train=(), test=(test,), num_classes=0, vocabulary=str(path)).evaluation(test)
    assert classes.vocabulary.classes[130] == ("flowerpot", "pot") and classes.vocabulary.names[188] == "pot"
    assert classes.vocabulary.names[49] == "pedestal" and classes.vocabulary.names[313] == "plinth"
    words[10], words[20] = words[20], words[10]
    path.write_text("\n".join(f"{k}:{entry}" for k, entry in enumerate(words, start=1)))
    with pytest.raises(ValueError, match="'door' is class 10, but class 20 of the dataset"):
        ClassSets(train=(), test=(test,), num_classes=0, vocabulary=str(path)).evaluation(test)


PLOTS = """\
name: plots
images: photos/{split}
labels: labels/{split}
ignore: [0, 255]
categories:
  - {id: 3, name: lawn}
  - {id: 7, name: heavens}
  - {id: 9, name: cart}
vocabulary: {lawn: "terrain, lawn", heavens: sky, cart: "car, cart"}
delete: {no_carts: [cart]}
out: no_carts
"""


@pytest.fixture
def plots(tmp_path):
    """Classes 3, 7 and 9, void twice, in two splits of two images of different sizes; PNG label maps of 8 bits."""
    for split in ("train", "val"):
        for k, (height, width) in enumerate(((48, 64), (64, 40))):
            labels = label_map(k, (3, 7, 0, 9), 255, height, width)
            write_pair(tmp_path / "photos" / split, tmp_path / "labels" / split, f"{split}_{k}", labels, ".png", False)
    path = tmp_path / "plots.yaml"
    path.write_text(PLOTS)
    return path


TRAINING = {
    "SOLVER.MAX_ITER": "2",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.WARMUP_ITERS": "0",
    "INPUT.MIN_SIZE_TRAIN": "(64,)",
    "INPUT.CROP.ENABLED": "False",
    "TEST.EVAL_PERIOD": "0",
    "SEED": "1",
}


def test_a_dataset_of_ones_own_is_trained_and_scored(plots, tmp_path, caplog):
    """With a class deleted from its label maps, on the values of a YAML file; the scores are complete."""
    output = tmp_path / "out"
    train = ("DATASETS.TRAIN", "('plots_train_no_carts',)", "DATASETS.TEST", "('plots_val',)")
    options = [word for pair in TRAINING.items() for word in pair]
    more = ("INPUT.DATASET_MAPPER_NAME", "mask_former_semantic", "ZSSEG.VIS_IMAGES", "2", "OUTPUT_DIR", str(output))
    start = ("--config-file", "minicity/in_class_finetune.yaml", "--dataset", str(plots))
    train_net.main([*start, *train, *SMALL, *SEMANTIC_ONLY, *options, *more, "ZSSEG.SAVE_PREDICTIONS", "True"])
    found, folder = table(output, "plots_val"), output / "inference" / "plots_val"
    pixels = {name: row["pixels"] for name, row in found["per_class"].items()}
    truths = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "labels" / "val").iterdir())]
    assert pixels == {
        name: sum(int((t == v).sum()) for t in truths) for name, v in (("terrain", 3), ("sky", 7), ("car", 9))
    }
    assert found["per_class"]["car"]["group"] == "Out" and found["Out"]["n"] <= 1
    saved = [np.asarray(Image.open(p)) for p in sorted((folder / "predictions").iterdir())]
    assert all(set(np.unique(s)) <= {3, 7, 9} for s in saved)
    voided = [np.where(t == 0, 255, t) for t in truths]
    assert found["All"]["mIoU"] == pytest.approx(mean_iou(voided, saved, 255))
    assert len(list((folder / "visualizations").iterdir())) == 2
    assert {s["category_id"] for s in DatasetCatalog.get("plots_train_no_carts")[0]["segments_info"]} == {0, 1}


def test_what_needs_panoptic_annotations_is_refused(plots, tmp_path):
    start = ["--config-file", "minicity/zero_shot.yaml", "--dataset", str(plots)]
    test = ("DATASETS.TEST", "('plots_val',)")
    with pytest.raises(SystemExit, match="pseudo-labels need panoptic annotations"):
        make_pseudo_labels.main([*start, "--configuration", "no_carts", *test, *SMALL, *SEMANTIC_ONLY])
    with pytest.raises(SystemExit, match="copies without classes need panoptic annotations"):
        delete_classes.main(["--dataset", str(plots), "--classes", "cart", "--output", str(tmp_path / "copy")])
    with pytest.raises(SystemExit, match="'plots_val' has label maps.*Fix: MODEL.MASK_FORMER.TEST.SEMANTIC_ON True"):
        train_net.main([*start, "--eval-only", *test, *SMALL])
    assert not (tmp_path / "copy").exists()


def test_semantic_output_alone_scores_a_panoptic_dataset(tmp_path, caplog):
    """With the same mIoU as beside PQ, and with visualizations."""
    garden = make_garden(tmp_path / "garden", 2)
    caplog.set_level(logging.INFO, logger="zsseg_d2")
    start = ["--config-file", "minicity/zero_shot.yaml", "--dataset", str(garden), "--eval-only"]
    both = (
        "MODEL.MASK_FORMER.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE",
        "True",
        "DATASETS.TEST",
        "('garden_val',)",
    )
    alone, beside = tmp_path / "alone", tmp_path / "beside"
    train_net.main([*start, *both, *SMALL, *SEMANTIC_ONLY, "ZSSEG.VIS_IMAGES", "1", "OUTPUT_DIR", str(alone)])
    measures = ("ZSSEG.MEASURES", "['mIoU']", "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", "True")
    train_net.main([*start, *both, *SMALL, *measures, "OUTPUT_DIR", str(beside)])
    expected = json.loads((beside / "inference" / "garden_val" / "panoptic_quality.json").read_text())
    found = table(alone, "garden_val")
    assert found["All"]["mIoU"] == expected["All"]["mIoU"] > 0 and found["Out"]["mIoU"] == expected["Out"]["mIoU"]
    assert not (alone / "inference" / "garden_val" / "panoptic_quality.json").exists()
    assert len(list((alone / "inference" / "garden_val" / "visualizations").iterdir())) == 1
