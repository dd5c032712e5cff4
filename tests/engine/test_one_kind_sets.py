"""Datasets with only stuff, only things or one class, each from one YAML file: scores and training."""

from __future__ import annotations

import contextlib
import io
import json
import math

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling
from PIL import Image

from zsseg_d2.cli import train_net
from zsseg_d2.data import PANOPTIC_FAMILIES, read_panoptic_png, unregister_panoptic_family, write_panoptic_png

KINDS = {  # name -> [(class, thing, words)]
    "stuff_only": [("lawn", False, "terrain, lawn"), ("heavens", False, "sky"), ("street", False, "road")],
    "things_only": [("visitor", True, "person, visitor"), ("cart", True, "car, cart")],
    "one_stuff": [("street", False, "road")],
    "one_thing": [("cart", True, "car, cart")],
}
HEIGHT, WIDTH = 64, 96


def make(root, classes) -> str:
    """Two splits of two images; things have two instances in each image, and void is around them."""
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        (root / f"panoptic_{split}").mkdir()
        images, annotations = [], []
        for k in range(2):
            ids, of_id = np.zeros((HEIGHT, WIDTH), np.int64), {}
            for c, (_, thing, _) in enumerate(classes):
                for part in range(2 if thing else 1):
                    number = 10 * (c + 1) + part
                    left = (c * WIDTH) // len(classes) + 4 + part * WIDTH // (2 * len(classes)) + k
                    right = left + WIDTH // ((2 if thing else 1) * len(classes)) - 8
                    ids[8 + 4 * k : 56, left:right] = number
                    of_id[number] = c + 1
            colors = np.random.default_rng(k).integers(0, 255, (64, 3)).astype(np.uint8)
            Image.fromarray(colors[ids]).save(root / "images" / split / f"{k}.png")
            write_panoptic_png(root / f"panoptic_{split}" / f"{k}.png", ids)
            images.append({"id": k, "file_name": f"{k}.png", "height": HEIGHT, "width": WIDTH})
            segments = [
                {"id": i, "category_id": c, "iscrowd": 0, "area": int((ids == i).sum()), "bbox": [0, 0, 1, 1]}
                for i, c in of_id.items()
            ]
            annotations.append({"image_id": k, "file_name": f"{k}.png", "segments_info": segments})
        known = [{"id": c, "name": name, "isthing": int(thing)} for c, (name, thing, _) in enumerate(classes, start=1)]
        document = {"images": images, "annotations": annotations, "categories": known}
        (root / f"panoptic_{split}.json").write_text(json.dumps(document))
    words = "".join(f"  {name}: {words}\n" for name, _, words in classes)
    places = "images: images/{split}\npanoptic: panoptic_{split}\nannotations: panoptic_{split}.json\n"
    path = root / "kind.yaml"
    path.write_text(f"name: kind\n{places}vocabulary:\n{words}")
    return str(path)


@pytest.fixture
def forget(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    if "kind" in PANOPTIC_FAMILIES:
        unregister_panoptic_family("kind")


def oracle(root, predictions, classes) -> dict:
    """PQ of each class with a segment in truth or prediction, by cityscapesscripts."""
    truth = json.loads((root / "panoptic_val.json").read_text())["annotations"]
    found = {a["image_id"]: a for a in json.loads((predictions / "predictions.json").read_text())["annotations"]}
    pairs = [(a, found[a["image_id"]]) for a in truth]
    with contextlib.redirect_stdout(io.StringIO()):
        counts = evalPanopticSemanticLabeling.pq_compute_single_core(
            0, pairs, str(root / "panoptic_val"), str(predictions), dict.fromkeys(range(1, len(classes) + 1))
        )
    scores = {}
    for c, (name, _, _) in enumerate(classes, start=1):
        n = counts[c].tp + (counts[c].fp + counts[c].fn) / 2
        if n:
            scores[name] = 100 * counts[c].iou / n
    return scores


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_training(kind, tmp_path, forget):
    classes = KINDS[kind]
    path = make(tmp_path / "data", classes)
    start = ["--dataset", path, "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0", "INPUT.MIN_SIZE_TEST", "64"]
    start += ["DATASETS.TEST", "('kind_val',)", "ZSSEG.MEASURES", "['mIoU', 'AP']"]
    start += ["MODEL.MASK_FORMER.TEST.SEMANTIC_ON", "True", "MODEL.MASK_FORMER.TEST.INSTANCE_ON", "True"]
    start += ["ZSSEG.SAVE_PREDICTIONS", "True", "ZSSEG.VIS_IMAGES", "1"]
    training = ["DATASETS.TRAIN", "('kind_train',)", "SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2"]
    training += ["INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.CROP.ENABLED", "False", "SEED", "1"]
    zero, trained = tmp_path / "zero", tmp_path / "trained"
    zero_shot = ["--config-file", "minicity/zero_shot.yaml", "--eval-only"]
    train_net.main([*zero_shot, *start, "OUTPUT_DIR", str(zero)])
    finetune = ["--config-file", "minicity/full_finetune.yaml"]
    train_net.main([*finetune, *start, *training, "OUTPUT_DIR", str(trained)])
    for output in (zero, trained):
        folder = output / "inference" / "kind_val"
        table = json.loads((folder / "panoptic_quality.json").read_text())
        expected = oracle(tmp_path / "data", folder / "predictions", classes)
        things = [words.split(",")[0] for _, thing, words in classes if thing]
        assert table["All"]["n"] == len(expected) and table["Things"]["n"] <= len(things)
        for name, _, words in classes:
            assert table["per_class"][words.split(",")[0]]["PQ"] == pytest.approx(expected.get(name, 0))
        assert table["All"]["PQ"] == pytest.approx(np.mean(list(expected.values())))
        assert table["Out"]["PQ"] is None and table["In"]["PQ"] == table["All"]["PQ"]
        if things:
            assert table["All"]["AP"] == pytest.approx(np.mean([table["per_class"][n]["AP"] for n in things]))
            assert 0 <= table["All"]["AP"] <= 100
        else:
            assert table["All"]["AP"] is None and table["Things"]["PQ"] is None
        if len(things) == len(classes):
            assert table["Stuff"]["PQ"] is None and table["Stuff"]["mIoU"] is None
        assert 0 <= table["All"]["mIoU"] <= 100
        if len(classes) == 1:  # every pixel is of the only class, and void is left out
            assert table["All"]["mIoU"] == pytest.approx(100)
        for png in (folder / "predictions").glob("*.png"):
            assert read_panoptic_png(png).shape == (HEIGHT, WIDTH)
    losses = [json.loads(line) for line in (trained / "metrics.json").read_text().splitlines()]
    assert losses and all(math.isfinite(row["total_loss"]) for row in losses if "total_loss" in row)
    assert (trained / "model_final.pth").exists()
