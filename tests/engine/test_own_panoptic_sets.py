"""A dataset of one's own in COCO panoptic format, with a category id of 0: pseudo-labels and class-deleted copies."""

from __future__ import annotations

import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from PIL import Image

from zsseg_d2 import Vocabulary
from zsseg_d2.cli import delete_classes, make_pseudo_labels
from zsseg_d2.data import (
    CocoLayout,
    PanopticCategory,
    PanopticFamily,
    check_segments,
    read_panoptic_png,
    register_panoptic_family,
    unregister_panoptic_family,
    write_panoptic_png,
)

SIZES = ((128, 256), (96, 160))
SOIL, CROP, WEED = 0, 1, 2


@pytest.fixture
def farm(tmp_path, monkeypatch):
    """Soil with one crop, one weed and a crowd of weeds, in two images of two splits."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    root = tmp_path / "farm"
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        (root / f"panoptic_{split}").mkdir()
        images, annotations = [], []
        for k, (h, w) in enumerate(SIZES):
            ids = np.full((h, w), 9)
            ids[h // 10 : h // 2, w // 10 : w // 2] = 10
            ids[h // 2 :, w // 2 :] = 11
            ids[h // 2 :, : w // 8] = 12
            segments = [
                {
                    "id": i,
                    "category_id": c,
                    "iscrowd": int(i == 12),
                    "area": int((ids == i).sum()),
                    "bbox": [0, 0, 1, 1],
                }
                for i, c in ((9, SOIL), (10, CROP), (11, WEED), (12, WEED))
            ]
            colors = np.random.default_rng(k).integers(0, 255, (16, 3)).astype(np.uint8)
            Image.fromarray(colors[ids]).save(root / split / f"{k}.png")
            write_panoptic_png(root / f"panoptic_{split}" / f"{k}.png", ids)
            images.append({"id": k, "file_name": f"{k}.png", "height": h, "width": w})
            annotations.append({"image_id": k, "file_name": f"{k}.png", "segments_info": segments})
        names = ("soil", "crop", "weed")
        categories = [{"id": c, "name": name, "isthing": int(c > 0)} for c, name in enumerate(names)]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"panoptic_{split}.json").write_text(json.dumps(document))
    yield register_panoptic_family(
        PanopticFamily(
            prefix="farm",
            folder_name="farm",
            categories=tuple(PanopticCategory(c, name, c > 0, (c, 0, 0)) for c, name in enumerate(names)),
            layout=CocoLayout("{split}", "panoptic_{split}", "panoptic_{split}.json"),
            vocabulary=Vocabulary((("terrain", "soil"), ("crop",), ("car", "weed"))),
            configurations={"no_weed": ("weed",), "no_soil": (0,)},
        )
    )
    unregister_panoptic_family("farm")


@pytest.mark.parametrize(("configuration", "gone"), [("no_weed", WEED), ("no_soil", SOIL)])
def test_pseudo_labels(farm, configuration, gone):
    make_pseudo_labels.main(
        [
            *("--config-file", "minicity/zero_shot.yaml", "--configuration", configuration),
            *("DATASETS.TEST", "('farm_val',)", "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0"),
            *("ZSSEG.PSEUDO_LABELS.MIN_SCORE", "0.0", "ZSSEG.PSEUDO_LABELS.MIN_AREA", "1", "ZSSEG.TEXT_CACHE", ""),
        ]
    )
    records = DatasetCatalog.get(f"farm_train_pseudo_labels_{configuration}")
    kept = {c for c in (SOIL, CROP, WEED) if c != gone}
    for record in records:
        ids = read_panoptic_png(record["pan_seg_file_name"])
        check_segments(ids, record["segments_info"], record["pan_seg_file_name"])
        truth = {s["id"]: s["category_id"] for s in record["segments_info"] if s["id"] in (9, 10, 11, 12)}
        assert set(truth.values()) == kept  # and no ground truth of the deleted class
        assert all(s["category_id"] == gone for s in record["segments_info"] if s["id"] not in truth)


def test_class_deleted_copies(farm, tmp_path):
    words = [
        "--root",
        str(tmp_path / "farm"),
        "--family",
        "farm",
        "--num-workers",
        "1",
        "--output",
        str(tmp_path / "out"),
    ]
    assert delete_classes.main([*words, "--classes", "0", "weed", "--split", "train", "val"]) == 0
    copy = PanopticFamily(**{**vars(farm), "prefix": "copy", "folder_name": "out"})
    for split in ("train", "val"):
        for record in copy.load(split):
            assert [s["category_id"] for s in record["segments_info"]] == [CROP]
            assert set(np.unique(read_panoptic_png(record["pan_seg_file_name"]))) == {0, 10}
