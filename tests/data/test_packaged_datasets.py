"""The packaged dataset files against the facts of their datasets."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin_meta import ADE20K_SEM_SEG_CATEGORIES, COCO_CATEGORIES
from PIL import Image

from tests.plain.data import cityscapes_counts
from zsseg_d2 import Vocabulary
from zsseg_d2.data import PANOPTIC_FAMILIES, check_segments, read_panoptic_png, write_panoptic_png
from zsseg_d2.data.panoptic.deletion import CONFIGURATIONS
from zsseg_d2.evaluation.panoptic.panoptic_counts import count_image

ADE20K = "openvocab_ade20k_panoptic"
MAPILLARY = "openvocab_mapillary_vistas_panoptic"


def test_cityscapes():
    family = PANOPTIC_FAMILIES["openvocab_cityscapes_fine_panoptic"]
    known = sorted((x for x in labels if not x.ignoreInEval), key=lambda x: x.trainId)
    assert [(c.id, c.name, c.isthing, c.color) for c in family.categories] == [
        (x.id, x.name, x.hasInstances, x.color) for x in known
    ]
    assert family.configurations == CONFIGURATIONS
    assert family.out_metadata()["out_contiguous_ids"] == tuple(range(11, 19))


def test_coco():
    family = PANOPTIC_FAMILIES["openvocab_coco_2017_panoptic"]
    assert [(c.id, c.name, int(c.isthing), list(c.color)) for c in family.categories] == [
        (c["id"], c["name"], c["isthing"], c["color"]) for c in COCO_CATEGORIES
    ]
    assert len(family.configurations["no_things"]) == 80
    assert family.vocabulary == Vocabulary.load("coco_panoptic")


def test_ade20k():
    family = PANOPTIC_FAMILIES[ADE20K]
    assert [(c.id, c.name) for c in family.categories] == list(enumerate(ADE20K_SEM_SEG_CATEGORIES))
    assert sum(c.isthing for c in family.categories) == 100
    names = [name.split(",")[0].strip() for name in ADE20K_SEM_SEG_CATEGORIES]
    assert list(family.vocabulary.names) == names == MetadataCatalog.get(f"{ADE20K}_val").stuff_classes
    kinds = {name: c.isthing for name, c in zip(names, family.categories)}
    assert kinds["person"] and kinds["car"] and kinds["door"] and not (kinds["wall"] or kinds["sky"] or kinds["shower"])
    family.vocabulary.check_distinct()


def test_mapillary_vistas(tmp_path, monkeypatch):
    """Ids count from 1; unlabeled pixels are no class. Files are where the download has them."""
    family = PANOPTIC_FAMILIES[MAPILLARY]
    assert [c.id for c in family.categories] == list(range(1, 66)) and sum(c.isthing for c in family.categories) == 37
    kinds = dict(zip(family.vocabulary.names, (c.isthing for c in family.categories)))
    assert kinds["person"] and kinds["pole"] and kinds["crosswalk"] and not (kinds["road"] or kinds["on rails"])
    for c, word in zip(family.categories, family.vocabulary.names):
        assert word.split()[0] in c.name.lower()
    family.vocabulary.check_distinct()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    root = tmp_path / "mapillary_vistas" / "validation"
    for name in ("images", "panoptic"):
        (root / name).mkdir(parents=True)
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(root / "images" / "a.jpg")
    write_panoptic_png(root / "panoptic" / "a.png", np.full((4, 6), 9))
    segment = {"id": 9, "category_id": 56, "area": 24, "bbox": [0, 0, 6, 4], "iscrowd": 0}
    content = {
        "images": [{"id": "a", "file_name": "a.jpg", "height": 4, "width": 6}],
        "annotations": [{"image_id": "a", "file_name": "a.png", "segments_info": [segment]}],
        "categories": [{"id": 56, "name": "Car", "isthing": 1, "supercategory": "object--vehicle--car"}],
    }
    (root / "panoptic" / "panoptic_2018.json").write_text(json.dumps(content))
    (record,) = DatasetCatalog.get(f"{MAPILLARY}_val")
    assert record["file_name"] == str(root / "images" / "a.jpg")
    (found,) = record["segments_info"]
    assert (family.vocabulary.names[found["category_id"]], found["isthing"]) == ("car", True)


@pytest.mark.parametrize(
    "name",
    [
        *(f"{ADE20K}_{split}" for split in ("train", "val")),
        *(f"{MAPILLARY}_{split}" for split in ("train", "val")),
        *(f"openvocab_cityscapes_fine_panoptic_{split}" for split in ("train", "val")),
        *(f"openvocab_coco_2017_{split}_panoptic{end}" for split in ("train", "val") for end in ("", "_with_sem_seg")),
    ],
)
def test_names_that_fcclip_registers(name):
    assert name in DatasetCatalog.list()


def test_ade20k_folders_and_stuff_that_things_cover(tmp_path, monkeypatch, caplog):
    """Mask2Former's preparation counts stuff, then paints things over it: a stuff segment may have no pixel left."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    root = tmp_path / "ADEChallengeData2016"
    (root / "images" / "validation").mkdir(parents=True)
    (root / "ade20k_panoptic_val").mkdir()
    ids = np.full((8, 10), 7)
    ids[:, 6:] = 12  # a person over all of the sky and a part of the wall
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(root / "images" / "validation" / "ADE_val_1.jpg")
    write_panoptic_png(root / "ade20k_panoptic_val" / "ADE_val_1.png", ids)
    rest = {"iscrowd": 0, "bbox": [0, 0, 1, 1]}
    segments = [
        {"id": 7, "category_id": 0, "area": 60, **rest},
        {"id": 9, "category_id": 2, "area": 20, **rest},
        {"id": 12, "category_id": 12, "area": 32, **rest},
    ]
    document = {
        "images": [{"id": "ADE_val_1", "file_name": "ADE_val_1.jpg", "width": 10, "height": 8}],
        "annotations": [{"image_id": "ADE_val_1", "file_name": "ADE_val_1.png", "segments_info": segments}],
        "categories": [
            {"id": k, "name": name, "isthing": int(PANOPTIC_FAMILIES[ADE20K].categories[k].isthing), "color": [k, 0, 0]}
            for k, name in enumerate(ADE20K_SEM_SEG_CATEGORIES)
        ],
    }
    (root / "ade20k_panoptic_val.json").write_text(json.dumps(document))
    (record,) = DatasetCatalog.get(f"{ADE20K}_val")
    assert record["file_name"] == str(root / "images" / "validation" / "ADE_val_1.jpg")
    truth = read_panoptic_png(record["pan_seg_file_name"])
    check_segments(truth, record["segments_info"], record["pan_seg_file_name"])
    assert not caplog.records
    things = [s for s in record["segments_info"] if s["isthing"]]
    with pytest.raises(ValueError, match="segment id 13 is in the JSON but not in the PNG"):
        check_segments(truth, [*record["segments_info"], {**things[0], "id": 13}], "some.png")

    predicted = [{"id": 1, "category_id": 0, "area": 48}, {"id": 2, "category_id": 12, "area": 32}]
    found = count_image(truth, record["segments_info"], np.where(ids == 7, 1, 2), predicted, 150)
    painted = [{**s, "area": int((ids == s["id"]).sum())} for s in segments if s["id"] != 9]
    expected = cityscapes_counts(tmp_path, ids, painted, np.where(ids == 7, 1, 2), predicted, 150)
    assert found.tp.tolist() == expected["tp"] and found.fn.tolist() == expected["fn"] and sum(expected["tp"]) == 2
