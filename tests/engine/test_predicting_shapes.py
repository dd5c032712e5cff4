"""``tools/predict.py`` with few and many words, on images of extreme shapes, and on a dataset of one's own."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling as reference
from PIL import Image

from tests.data.tiny_garden import CLASSES, make_garden
from zsseg_d2.cli import predict as tool
from zsseg_d2.cli import train_net
from zsseg_d2.data import PANOPTIC_FAMILIES, unregister_panoptic_family
from zsseg_d2.engine.prediction.embedded import DRAWN_STREETS

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ("MODEL.DEVICE", "cpu", "ZSSEG.TEXT_CACHE", "")


def panoptic_maps(folder: Path, sizes: dict[str, tuple[int, int]]) -> dict[str, list[dict]]:
    """Check ``panoptic.json`` and its PNGs by the rules of COCO's panoptic format, without the package.

    Returns:
        Image id -> segments.
    """
    document = json.loads((folder / "panoptic.json").read_text())
    kinds = {c["id"]: c["isthing"] for c in document["categories"]}
    assert len(kinds) == len(document["categories"]) and set(kinds.values()) <= {0, 1}
    assert {i["id"]: (i["height"], i["width"]) for i in document["images"]} == sizes
    assert [a["image_id"] for a in document["annotations"]] == [i["id"] for i in document["images"]]
    for annotation in document["annotations"]:
        pixels = np.asarray(Image.open(folder / "panoptic" / annotation["file_name"])).astype(np.int64)
        ids = pixels @ [1, 256, 256**2]
        assert ids.shape == sizes[annotation["image_id"]]
        listed = [s["id"] for s in annotation["segments_info"]]
        assert len(set(listed)) == len(listed) and set(listed) == set(np.unique(ids).tolist()) - {0}
        stuff = [s["category_id"] for s in annotation["segments_info"] if not kinds[s["category_id"]]]
        assert len(set(stuff)) == len(stuff)
        for s in annotation["segments_info"]:
            ys, xs = np.nonzero(ids == s["id"])
            assert s["area"] == len(ys) and s["iscrowd"] == 0
            assert s["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    return {a["image_id"]: a["segments_info"] for a in document["annotations"]}


NAMES = ["road | street", "sky", "car, cars", "person", "tree", *(f"gadget {k} of {k * k}" for k in range(995))]


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """Options that keep the text rows of `NAMES`, which take most of the time."""
    return "MODEL.DEVICE", "cpu", "ZSSEG.TEXT_CACHE", str(tmp_path_factory.mktemp("rows"))


@pytest.mark.parametrize("count", [1, 5, 40, 1000])
def test_any_number_of_words(count, tmp_path, cached):
    """From a file, with synonyms, on a drawn street and on noise; the street is found whatever else is named."""
    (tmp_path / "words.txt").write_text("\n".join(NAMES[:count]))
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    images = [str(ROOT / "docs" / "street.png"), str(tmp_path / "noise.png")]
    words = ["--words", str(tmp_path / "words.txt"), "--output", str(tmp_path / "found"), "--semantic"]
    assert tool.main([*images, *words, *cached]) == 0
    with Image.open(images[0]) as street:
        sizes = {"street": (street.height, street.width), "noise": (90, 70)}
    found = panoptic_maps(tmp_path / "found", sizes)
    document = json.loads((tmp_path / "found" / "panoptic.json").read_text())
    assert [c["name"] for c in document["categories"]] == [n.split(" |")[0].split(",")[0] for n in NAMES[:count]]
    assert 1 in {s["category_id"] for s in found["street"]}  # the road
    semantic = np.asarray(Image.open(tmp_path / "found" / "semantic" / "street.png"))
    assert semantic.shape == sizes["street"] and semantic.min() >= 1 and semantic.max() <= count


PHOTOGRAPH = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


@pytest.mark.skipif(not PHOTOGRAPH.is_file(), reason="matplotlib came without its sample photograph")
@pytest.mark.parametrize(("count", "mode"), [(1, "L"), (5, "CMYK"), (40, "RGB"), (1000, "CMYK")])
def test_any_number_of_words_on_a_photograph(count, mode, tmp_path, cached):
    with Image.open(PHOTOGRAPH) as photograph:
        photograph.convert(mode).resize((102, 121)).save(tmp_path / "photograph.jpg")
    (tmp_path / "words.txt").write_text("\n".join(NAMES[:count]))
    words = ["--words", str(tmp_path / "words.txt"), "--output", str(tmp_path / "found"), "--semantic"]
    assert tool.main([str(tmp_path / "photograph.jpg"), *words, *cached]) == 0
    panoptic_maps(tmp_path / "found", {"photograph": (121, 102)})
    semantic = np.asarray(Image.open(tmp_path / "found" / "semantic" / "photograph.png"))
    assert semantic.shape == (121, 102) and 1 <= semantic.min() <= semantic.max() <= count


MOST_MEMORY = 2.2
"""GB of a whole run, of which PyTorch and the model take 1; each image adds 0.3."""

MEASURED = """
import atexit, runpy, sys
from pathlib import Path

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    Path("peak.txt").write_text(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

atexit.register(peak)
sys.argv = sys.argv[1:]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a program and writes its own peak in kB; ``ru_maxrss`` would count the process that it was forked from."""


def test_images_of_extreme_shapes(tmp_path):
    """20,000x20, 20x20,000 and 1x1 pixels, by the program in a process of its own, in bounded memory."""
    sizes = {"wide": (20, 20_000), "tall": (20_000, 20), "dot": (1, 1)}
    for name, size in sizes.items():
        pixels = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    words = ["--words", "road, car, sky, person", "--output", "found", "--semantic", "--instances", "--csv"]
    program = ["-c", MEASURED, str(ROOT / "tools" / "predict.py")] if Path("/proc/self/status").exists() else []
    command = [sys.executable, *(program or [str(ROOT / "tools" / "predict.py")]), *(f"{name}.png" for name in sizes)]
    with open(tmp_path / "log.txt", "w") as log:
        status = subprocess.run([*command, *words, *OPTIONS], cwd=tmp_path, stdout=log, stderr=log).returncode
    told = (tmp_path / "log.txt").read_text()
    assert status == 0 and "Traceback" not in told, told
    assert told.count(DRAWN_STREETS) == 1
    if program:
        assert 0.3 < int((tmp_path / "peak.txt").read_text()) / 1e6 < MOST_MEMORY
    panoptic_maps(tmp_path / "found", dict(sorted(sizes.items(), key=lambda item: list(sizes).index(item[0]))))
    for name, size in sizes.items():
        semantic = np.asarray(Image.open(tmp_path / "found" / "semantic" / f"{name}.png"))
        assert semantic.shape == size and 1 <= semantic.min() <= semantic.max() <= 4
        with Image.open(tmp_path / "found" / "overlay" / f"{name}.jpg") as overlay:
            assert overlay.width >= size[1] and overlay.height > size[0]


def test_a_dataset_of_ones_own_has_the_quality_of_its_evaluation(tmp_path, monkeypatch):
    """Seven classes from one YAML file: the JSON of the predictions and the evaluator, by cityscapesscripts' counts."""
    monkeypatch.chdir(tmp_path)
    garden = make_garden(tmp_path / "garden", 3)
    own = ("--dataset", str(garden), "DATASETS.TEST", "('garden_val',)", "INPUT.MIN_SIZE_TEST", "64")
    try:
        start = ["--config-file", "minicity/zero_shot.yaml"]
        train_net.main([*start, "--eval-only", *own, *OPTIONS, "OUTPUT_DIR", "out", "DATALOADER.NUM_WORKERS", "0"])
        images = garden.parent / "images" / "val"
        assert tool.main([str(images), *start, "--output", "found", *own, *OPTIONS]) == 0
    finally:
        if "garden" in PANOPTIC_FAMILIES:
            unregister_panoptic_family("garden")
    truth = json.loads((garden.parent / "panoptic_val.json").read_text())
    found = json.loads((tmp_path / "found" / "panoptic.json").read_text())
    assert {c["id"]: c["name"] for c in found["categories"]} == {i: name for i, (name, _, _) in CLASSES.items()}
    names = {i["id"]: Path(i["file_name"]).stem for i in truth["images"]}
    of_name = {a["image_id"]: a for a in found["annotations"]}
    pairs = [(a, of_name[names[a["image_id"]]]) for a in truth["annotations"]]
    with contextlib.redirect_stdout(io.StringIO()):
        folders = str(garden.parent / "panoptic_val"), str(tmp_path / "found" / "panoptic")
        counts = reference.pq_compute_single_core(0, pairs, *folders, dict.fromkeys(CLASSES))
    scores = {}
    for number, (_, _, words) in CLASSES.items():
        n = counts[number].tp + (counts[number].fp + counts[number].fn) / 2
        scores[words.split(",")[0]] = 100 * counts[number].iou / n if n else None
    report = json.loads((tmp_path / "out/inference/garden_val/panoptic_quality.json").read_text())
    known = [score for score in scores.values() if score is not None]
    assert report["All"]["PQ"] == pytest.approx(sum(known) / len(known), abs=1e-9) and max(known) > 0
    for name, score in scores.items():
        assert report["per_class"][name]["PQ"] == pytest.approx(score or 0, abs=1e-9)
