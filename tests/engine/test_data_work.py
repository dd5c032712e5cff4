"""What the benchmark times does the work it says, and gives what the plain forms give."""

from __future__ import annotations

import builtins
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.plain import data as plain
from zsseg_d2.data import CONFIGURATIONS, load_cityscapes_panoptic, read_panoptic_png
from zsseg_d2.engine.benchmark import data_work

SIZE = (128, 256)


@pytest.fixture(scope="module")
def city(tmp_path_factory) -> Path:
    return data_work.city_images(tmp_path_factory.mktemp("city"), 4, SIZE)


@pytest.mark.parametrize("image_size, segments", [(SIZE, 60), ((60, 50), 7), ((1024, 2048), 60)])
def test_counting_equals_cityscapesscripts(tmp_path, image_size, segments):
    maps = data_work.panoptic_maps(image_size, segments)
    assert maps[0].shape == maps[2].shape == image_size and len(maps[1]) == segments
    counts = data_work.panoptic_evaluation(image_size, segments)()
    expected = plain.cityscapes_counts(tmp_path, *maps, 19)
    np.testing.assert_allclose(counts.iou, expected["iou"], atol=1e-9)
    for key in ("tp", "fp", "fn"):
        assert getattr(counts, key).tolist() == expected[key]
    if segments == 60:
        assert 20 < counts.tp.sum() < 60 and counts.fp.sum() and counts.fn.sum()


def test_counting_writes_nothing(monkeypatch):
    run = data_work.panoptic_evaluation(SIZE, 9)
    for module, name in ((builtins, "open"), (tempfile, "mkstemp"), (Image.Image, "save")):
        monkeypatch.setattr(module, name, lambda *a, **k: pytest.fail("a file"))
    assert run().tp.sum() > 0


def test_class_deletion_equals_the_plain_loop(city, tmp_path):
    run = data_work.class_deletion(city, tmp_path, tuple(CONFIGURATIONS), num_workers=1)
    folder = run()
    assert run() != folder  # a second call does the work again
    images_compared = 0
    for name in ("000", "003", "008"):
        plain.delete_classes(city, "train", tmp_path / f"plain_{name}", CONFIGURATIONS[name])
        ours, theirs = (load_cityscapes_panoptic(f, "train") for f in (folder / name, tmp_path / f"plain_{name}"))
        assert [r["segments_info"] for r in ours] == [r["segments_info"] for r in theirs]
        for expected in sorted((tmp_path / f"plain_{name}" / "gtFine").rglob("*.png")):
            written = folder / name / expected.relative_to(tmp_path / f"plain_{name}")
            assert Image.open(written).mode == Image.open(expected).mode
            np.testing.assert_array_equal(np.asarray(Image.open(written)), np.asarray(Image.open(expected)))
            images_compared += 1
    assert images_compared == 3 * 4 * 4


def test_masks_equal_the_plain_ones():
    expected = sum(int(plain.polygon_mask(*polygons).sum()) for polygons in data_work.phrase_polygons(30))
    assert data_work.phrase_masks(30)() == expected > 0


def test_the_mapper_gives_the_segments_of_the_record(city):
    record = load_cityscapes_panoptic(city, "train")[0]
    run = data_work.training_mapper(city)
    item = run()
    assert item["image"].shape[0] == 3 and item["image"].shape[1:] == (667, 1333)
    things = [s for s in record["segments_info"] if not s["iscrowd"]]
    assert sorted(item["instances"].gt_classes.tolist()) == sorted(s["category_id"] for s in things)
    covered = item["instances"].gt_masks.any(0).float().mean().item()
    ids = read_panoptic_png(record["pan_seg_file_name"])
    assert covered == pytest.approx(np.isin(ids, [s["id"] for s in things]).mean(), abs=0.02)
    assert run()["image"].equal(item["image"])
