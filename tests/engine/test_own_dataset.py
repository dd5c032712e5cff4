"""A dataset of seven classes goes the whole way from one YAML file: every method, and the In/Out table of a suite."""

from __future__ import annotations

import contextlib
import io
import json
import math

import numpy as np
import pytest
import yaml
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling
from detectron2.data import DatasetCatalog

from tests.data.tiny_garden import CLASSES, make_garden
from zsseg_d2.cli import feature_statistics, make_pseudo_labels, oracle_study, run_suite, train_net
from zsseg_d2.data import PANOPTIC_FAMILIES, read_panoptic_png, unregister_panoptic_family

DELETED = ("car", "bus", "truck")
SMALL = {
    "MODEL.DEVICE": "cpu",
    "DATALOADER.NUM_WORKERS": "0",
    "INPUT.MIN_SIZE_TEST": "64",
    "INPUT.MIN_SIZE_TRAIN": "(64,)",
    "INPUT.CROP.ENABLED": "False",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.MAX_ITER": "2",
    "SOLVER.WARMUP_ITERS": "0",
    "TEST.EVAL_PERIOD": "0",
    "SEED": "1",
}


@pytest.fixture
def garden(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield make_garden(tmp_path / "garden", 2)
    for name in {"garden", "orchard"} & set(PANOPTIC_FAMILIES):
        unregister_panoptic_family(name)


def options(**more) -> list[str]:
    datasets = {"DATASETS.TEST": "('garden_val',)"}
    return [word for pair in {**SMALL, **datasets, **more}.items() for word in pair]


def score(output) -> dict:
    """Return the table of an evaluation."""
    return json.loads((output / "inference" / "garden_val" / "panoptic_quality.json").read_text())


def oracle(root, predictions) -> dict[str, dict]:
    """Return tp, fp, fn and summed IoU of each class by cityscapesscripts, from the files alone."""
    truth = json.loads((root / "panoptic_val.json").read_text())["annotations"]
    found = {a["image_id"]: a for a in json.loads((predictions / "predictions.json").read_text())["annotations"]}
    pairs = [(a, found[a["image_id"]]) for a in truth]
    with contextlib.redirect_stdout(io.StringIO()):
        counts = evalPanopticSemanticLabeling.pq_compute_single_core(
            0, pairs, str(root / "panoptic_val"), str(predictions), dict.fromkeys(CLASSES)
        )
    keys = ("tp", "fp", "fn", "iou")
    return {words.split(",")[0]: {k: getattr(counts[i], k) for k in keys} for i, (_, _, words) in CLASSES.items()}


@pytest.fixture
def run(garden, tmp_path):
    """``run(name, config, …)``: a program with a packaged config on the dataset; returns the folder ``name``."""

    def start(name, config, train="", program=train_net, words=(), **more):
        keys = {"OUTPUT_DIR": str(tmp_path / name), **more, **({"DATASETS.TRAIN": f"('{train}',)"} if train else {})}
        given = ["--config-file", f"minicity/{config}.yaml", "--dataset", str(garden), *words]
        program.main([*given, *options(**keys)])
        return tmp_path / name

    return start


DELETING, PSEUDO = "garden_train_no_vehicles", "garden_train_pseudo_labels_no_vehicles"


def check_table(output) -> dict:
    """Check that the table of an evaluation is about this dataset, and return it."""
    table = score(output)
    sizes = {k: table[k]["n"] for k in ("All", "In", "Out", "Things", "Stuff")}
    assert sizes == {"All": 7, "In": 4, "Out": 3, "Things": 4, "Stuff": 3}
    assert tuple(k for k, row in table["per_class"].items() if row["group"] == "Out") == DELETED
    assert 0 < table["In"]["PQ"] <= 100
    return table


def test_the_whole_way(garden, tmp_path, run, capsys):
    trained = "model_final.pth"
    more = {
        "ZSSEG.VIS_IMAGES": "1",
        "ZSSEG.MEASURES": "['mIoU', 'AP']",
        "MODEL.MASK_FORMER.TEST.SEMANTIC_ON": "True",
        "MODEL.MASK_FORMER.TEST.INSTANCE_ON": "True",
    }
    zero_shot = run("zero_shot", "zero_shot", words=["--eval-only", "--save-predictions"], **more)
    in_class = run("in_class", "in_class_finetune", DELETING)
    run("labels", "zero_shot", program=make_pseudo_labels, words=["--configuration", "no_vehicles"])
    two = {"ZSSEG.MODEL_TWO.WEIGHTS": str(in_class / trained)}
    others = [
        run("invocab", "invocab", PSEUDO),
        run("naive", "naive", words=["--eval-only"], **two),
        run("combined", "combined_mean", PSEUDO),
    ]
    for output in (zero_shot, in_class, *others):
        check_table(output)
    table = score(zero_shot)
    assert table["In"]["mIoU"] > 0 and table["Stuff"]["AP"] is None and 0 <= table["Things"]["AP"] <= 100
    counted = oracle(garden.parent, zero_shot / "inference" / "garden_val" / "predictions")
    for name, row in score(zero_shot)["per_class"].items():
        assert {k: row[k] for k in ("tp", "fp", "fn")} == {k: counted[name][k] for k in ("tp", "fp", "fn")}
        n = counted[name]["tp"] + (counted[name]["fp"] + counted[name]["fn"]) / 2
        assert row["PQ"] == pytest.approx(100 * counted[name]["iou"] / n if n else 0)
    assert len(list((zero_shot / "inference" / "garden_val" / "visualizations").iterdir())) == 1

    for record in DatasetCatalog.get(PSEUDO):
        ids = read_panoptic_png(record["pan_seg_file_name"])
        kept = {s["id"] for s in record["segments_info"] if s["category_id"] < 4}
        assert kept == {30, 50, 60, 100, 101} and set(np.unique(ids)) >= kept
    config = yaml.safe_load((in_class / "config.yaml").read_text())
    assert config["DATASETS"]["FILES"] == [str(garden)] and config["MODEL"]["SEM_SEG_HEAD"]["NUM_CLASSES"] == 7

    # Only config.yaml names the dataset file here.
    unregister_panoptic_family("garden")
    words = ["--config-file", str(in_class / "config.yaml"), "--resume", "SOLVER.MAX_ITER", "3"]
    train_net.main(words)
    assert json.loads((in_class / "run.json").read_text())["iterations"] == 3

    run("full", "full_finetune", "garden_train")
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run("leak", "in_class_finetune", DELETING, **{"MODEL.WEIGHTS": str(tmp_path / "full" / trained)})
    assert "garden_train" in str(stop.value) and "ground truth of car, bus, truck" in str(stop.value)


@pytest.mark.parametrize(
    ("config", "own_loss"),
    [
        ("distill_kl", "loss_distill"),
        ("mean_teacher", "loss_ce"),
        ("l2_sp", "loss_anchor"),
        ("ewc", "loss_anchor"),
        ("frozen_queries", "loss_ce"),
        ("low_rank", "loss_ce"),
    ],
)
def test_further_methods(run, garden, config, own_loss):
    """Two iterations each; EWC reads the images of a second dataset of one's own."""
    orchard = garden.with_name("orchard.yaml")
    orchard.write_text(garden.read_text().replace("name: garden", "name: orchard"))
    keys = {"ZSSEG.EWC.DATASET": "orchard_train_no_vehicles", "ZSSEG.EWC.IMAGES": "1"} if config == "ewc" else {}
    output = run("out", config, DELETING, words=["--dataset", str(orchard)], **keys)
    check_table(output)
    lines = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    losses = {k: v for line in lines for k, v in line.items() if "loss" in k}
    assert own_loss in losses and all(map(math.isfinite, losses.values()))
    assert yaml.safe_load((output / "config.yaml").read_text())["MODEL"]["SEM_SEG_HEAD"]["NUM_CLASSES"] == 7
    assert (output / "model_final.pth").is_file()


def test_interpolation(run, tmp_path):
    keys = {"ZSSEG.MODEL_TWO.WEIGHTS": "zsseg_d2://weights/mini_fcclip.safetensors"}
    for name, of in (("ONE", "garden_train"), ("TWO", DELETING)):
        file = keys[f"ZSSEG.INTERPOLATION.STATISTICS_{name}"] = str(tmp_path / f"{name}.safetensors")
        run("statistics", "zero_shot", program=feature_statistics, words=["--of", of, "--output", file])
    check_table(run("out", "interpolated", words=["--eval-only"], **keys))


def test_region_labels(run):
    regions = {"ZSSEG.PSEUDO_LABELS.REGIONS": "True"}
    run("labels", "zero_shot", program=make_pseudo_labels, words=["--configuration", "no_vehicles"], **regions)
    labels = "garden_train_region_labels_no_vehicles"
    output = run("out", "regions", labels)
    check_table(output)
    for record in DatasetCatalog.get(labels):
        named = {s["category_id"] for s in record["segments_info"]}
        assert named & {0, 1, 2, 3} == {0, 1, 2, 3}, "labels of the kept classes are true ones"
    assert (output / "model_final.pth").is_file()


def test_an_oracle_study(run):
    output = run("out", "zero_shot", program=oracle_study)
    found = json.loads((output / "oracle_study.json").read_text())["datasets"]["garden_val"]
    assert found["true_classes"]["PQ"] > found["panoptic_seg"]["PQ"] > 0
    assert found["true_masks"]["PQ"] == pytest.approx(found["true_masks"]["RQ"]), "what is matched is matched exactly"
    assert found["true_masks"]["PQ"] > 0


SUITE = """\
title: garden
output: suite
seeds: [1]
runs:
  - {name: full, config: minicity/full_finetune.yaml, options: {DATASETS.TRAIN: "('garden_train',)"}}
"""


def test_a_suite(garden, tmp_path):
    (tmp_path / "suite.yaml").write_text(SUITE)
    pairs = dict(zip(options()[::2], options()[1::2]))
    pairs.pop("SEED")  # a suite sets it itself
    words = [word for pair in pairs.items() for word in pair]
    assert run_suite.main(["suite.yaml", "--dataset", str(garden), *words]) == 0
    (row,) = json.loads((tmp_path / "suite" / "results.json").read_text())["runs"].values()
    assert not row["leak_free"] and "ground truth of car, bus, truck" in row["leak"]
    table = score(tmp_path / "suite" / "seed_1" / "full")
    assert row["mean"]["in"] == table["In"]["PQ"] > 0 and row["mean"]["out"] == table["Out"]["PQ"]
    assert row["seeds"]["1"]["details"]["sizes"] == {"in": 4, "out": 3}
