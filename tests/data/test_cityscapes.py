"""Cityscapes records: their content, lazy registration, and the message for every kind of bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import name2label
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from zsseg_d2 import Vocabulary
from zsseg_d2.data import (
    DatasetError,
    PanopticCategory,
    check_segments,
    load_cityscapes_panoptic,
    read_panoptic_png,
    register_cityscapes_panoptic,
    register_coco_panoptic,
    write_panoptic_png,
)
from zsseg_d2.data.panoptic.cityscapes import CATEGORIES

from .tiny_cityscapes import make_tiny_cityscapes, panoptic_json


@pytest.fixture
def root(tmp_path):
    return make_tiny_cityscapes(tmp_path / "cityscapes")


@pytest.fixture
def name():
    """A free dataset name, taken out of the catalogs again."""
    yield "tests_some_dataset"
    for catalog in (DatasetCatalog, MetadataCatalog):
        if "tests_some_dataset" in catalog.list():
            catalog.remove("tests_some_dataset")


def edit(root: Path, change) -> None:
    document = json.loads(panoptic_json(root).read_text())
    change(document)
    panoptic_json(root).write_text(json.dumps(document))


def message(root: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        load_cityscapes_panoptic(root, "train")
    return str(caught.value)


def test_the_class_table_is_cityscapes_own():
    for train_id, category in enumerate(CATEGORIES):
        label = name2label[category.name]
        assert (label.id, label.trainId, label.color) == (category.id, train_id, category.color)
        assert label.hasInstances == category.isthing
    assert Vocabulary.load("cityscapes").names == tuple(c.name for c in CATEGORIES)


def test_every_built_in_dataset_is_registered_with_its_metadata():
    deleted = {f"_{n:03d}": n for n in range(9)}
    for prefix in ("openvocab_cityscapes_fine_panoptic", "minicity_panoptic"):
        for suffix in ("_train", "_val", *(f"_train{d}" for d in deleted)):
            assert f"{prefix}{suffix}" in DatasetCatalog.list()
            metadata = MetadataCatalog.get(f"{prefix}{suffix}")
            count = deleted.get(suffix[-4:], 0)
            assert metadata.deleted_label_ids == (24, 25, 26, 27, 28, 31, 32, 33)[:count]
            assert metadata.deleted_contiguous_ids == tuple(range(11, 11 + count))
            assert metadata.thing_classes == metadata.stuff_classes == list(metadata.vocabulary.names)
            assert len(metadata.stuff_dataset_id_to_contiguous_id) == len(metadata.stuff_colors) == 19
            assert metadata.thing_dataset_id_to_contiguous_id == dict(
                zip((24, 25, 26, 27, 28, 31, 32, 33), range(11, 19))
            )
            assert (metadata.evaluator_type, metadata.ignore_label, metadata.label_divisor) == (
                "zsseg_panoptic",
                255,
                1000,
            )
            assert metadata.panoptic_json.endswith(".json") and metadata.panoptic_root and metadata.image_root
    coco = MetadataCatalog.get("openvocab_coco_2017_val_panoptic")
    assert len(coco.vocabulary) == 133 and len(coco.thing_dataset_id_to_contiguous_id) == 80
    assert MetadataCatalog.get("miniworld_panoptic_train").vocabulary.names[0] == "person"


def test_the_data_root_is_looked_up_when_records_are_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    make_tiny_cityscapes(tmp_path / "cityscapes")
    records = DatasetCatalog.get("openvocab_cityscapes_fine_panoptic_train_008")
    assert records[0]["file_name"].startswith(str(tmp_path))
    assert MetadataCatalog.get("openvocab_cityscapes_fine_panoptic_train_008").image_root.startswith(str(tmp_path))
    assert not any(s["isthing"] for r in records for s in r["segments_info"])


def test_records(root):
    records = load_cityscapes_panoptic(root, "train")
    document = json.loads(panoptic_json(root).read_text())
    contiguous = {c.id: k for k, c in enumerate(CATEGORIES)}
    assert [r["image_id"] for r in records] == [a["image_id"] for a in document["annotations"]]
    for record, annotation in zip(records, document["annotations"]):
        assert Path(record["file_name"]).name == f"{record['image_id']}_leftImg8bit.png"
        assert Path(record["file_name"]).is_file()
        assert (record["height"], record["width"]) == (40, 64)
        assert Path(record["pan_seg_file_name"]).name == annotation["file_name"]
        for segment, source in zip(record["segments_info"], annotation["segments_info"], strict=True):
            assert segment == {
                **source,
                "category_id": contiguous[source["category_id"]],
                "isthing": source["category_id"] >= 24,
            }
        ids = read_panoptic_png(record["pan_seg_file_name"], (40, 64))
        check_segments(ids, record["segments_info"], record["pan_seg_file_name"])
        assert all((ids == s["id"]).sum() == s["area"] for s in record["segments_info"])
    assert any(s["iscrowd"] for r in records for s in r["segments_info"])


def test_images_are_joined_by_id_and_not_by_position(root):
    straight = {r["image_id"]: r for r in load_cityscapes_panoptic(root, "train")}
    edit(root, lambda d: d["images"].reverse())
    assert {r["image_id"]: r for r in load_cityscapes_panoptic(root, "train")} == straight


def test_registering_reads_nothing_and_takes_names_and_ids(root, name):
    register_cityscapes_panoptic(name, root / "nowhere", "train", deleted=("person", 25))
    assert MetadataCatalog.get(name).deleted_label_ids == (24, 25)
    with pytest.raises(DatasetError, match="nowhere"):
        DatasetCatalog.get(name)


def test_missing_root(tmp_path):
    with pytest.raises(DatasetError, match="DETECTRON2_DATASETS"):
        load_cityscapes_panoptic(tmp_path / "nothing", "train")


def test_missing_json_names_the_preparation(root):
    panoptic_json(root).unlink()
    text = message(root)
    assert "cityscapesscripts.preparation.createPanopticImgs" in text and "CITYSCAPES_DATASET" in text
    assert str(panoptic_json(root)) in text


@pytest.mark.parametrize("content", ["{", "[]", '{"images": []}', '{"images": [], "annotations": 3}', "null", "\xff"])
def test_malformed_json(root, content):
    panoptic_json(root).write_bytes(content.encode("latin-1"))
    assert str(panoptic_json(root)) in message(root)


def _drop(key):
    return lambda d: d["annotations"][1].pop(key)


def _segment(**values):
    return lambda d: d["annotations"][1]["segments_info"][0].update(values)


@pytest.mark.parametrize(
    "change, expected",
    [
        (_drop("segments_info"), "'segments_info' is missing"),
        (_drop("file_name"), "leads out of|'file_name' is missing"),
        (_drop("image_id"), r"'annotations\[1\].image_id' is missing"),
        (_segment(category_id=29), "unknown category 29"),
        (
            _segment(category_id="road"),
            r"image id 'aachen_000002_000019': 'segments_info.0..category_id' .* .expected int, got str",
        ),
        (_segment(id=0), "segment id 0"),
        (_segment(id=256**3), "segment id 16777216"),
        (_segment(iscrowd=None), r"'segments_info\[0\].iscrowd'"),
        (lambda d: d["annotations"][1].update(image_id=1.5), r"'annotations\[1\].image_id' is of the wrong type"),
        (lambda d: d["images"][0].pop("width"), "'width' is missing"),
        (
            lambda d: d["annotations"][1]["segments_info"].append(d["annotations"][1]["segments_info"][0]),
            "appears twice",
        ),
        (lambda d: d["annotations"].append(d["annotations"][0]), "appears twice"),
        (lambda d: d["images"].append(d["images"][0]), "appears twice"),
        (lambda d: d["images"].pop(), "has no entry in 'images'"),
        (lambda d: d["annotations"].pop(), "has no annotation"),
        (lambda d: d.update(images=[], annotations=[]), "annotates no image"),
        (lambda d: d["categories"][0].update(id=0), "category 0 .'road'. is unknown"),
        (lambda d: d["categories"].append(7), r"not in COCO panoptic format: 'categories\[19\]'"),
        (lambda d: d["annotations"][1].update(file_name="../outside.png"), "leads out of"),
        (lambda d: d["annotations"][1].update(file_name="/etc/outside.png"), "leads out of"),
        (lambda d: d["annotations"][1].update(file_name="C:\\outside.png"), "leads out of"),
        (lambda d: d["annotations"][1].update(file_name="other.png"), "other.png is missing"),
        (lambda d: d["images"][0].update(width="64"), "'width'"),
        (
            lambda d: [e.update({k: "a/b"}) for k, e in (("id", d["images"][0]), ("image_id", d["annotations"][0]))],
            "file name",
        ),
    ],
)
def test_wrong_entries(root, change, expected):
    edit(root, change)
    with pytest.raises(DatasetError, match=expected):
        load_cityscapes_panoptic(root, "train")


def test_train_id_annotations_are_refused(root):
    def to_train_ids(document):
        for k, category in enumerate(document["categories"]):
            category["id"] = k

    edit(root, to_train_ids)
    assert "not train ids" in message(root)


def test_missing_image(root):
    gone = next((root / "leftImg8bit").rglob("*.png"))
    gone.unlink()
    assert gone.name in message(root)


def test_missing_panoptic_png(root):
    gone = next((root / "gtFine" / "cityscapes_panoptic_train").iterdir())
    gone.unlink()
    assert gone.name in message(root)


def test_png_round_trip(tmp_path):
    ids = np.random.default_rng(0).integers(0, 256**3, (7, 11)).astype(np.int32)
    write_panoptic_png(tmp_path / "a.png", ids)
    assert np.array_equal(read_panoptic_png(tmp_path / "a.png", (7, 11)), ids)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    rgb = np.asarray(Image.open(tmp_path / "a.png")).astype(np.int64)  # what any other reader sees
    assert np.array_equal(rgb[..., 0] + 256 * rgb[..., 1] + 256**2 * rgb[..., 2], ids)


def test_bad_pngs(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(DatasetError, match="missing"):
        read_panoptic_png(path)
    write_panoptic_png(path, np.random.default_rng(0).integers(0, 9999, (50, 50)))
    with pytest.raises(DatasetError, match="50x50 pixels, but its image is 40x50"):
        read_panoptic_png(path, (50, 40))
    content = path.read_bytes()
    for kept in (0, 10, len(content) // 2):
        path.write_bytes(content[:kept])
        with pytest.raises(DatasetError, match="truncated or damaged"):
            read_panoptic_png(path)
    Image.new("L", (50, 50)).save(path)
    with pytest.raises(DatasetError, match="8-bit RGB"):
        read_panoptic_png(path)


def test_segments_of_png_and_json_must_agree():
    ids = np.array([[0, 7], [7, 26001]])
    check_segments(ids, [{"id": 7}, {"id": 26001}], "some.png")
    with pytest.raises(DatasetError, match="some.png: segment id 8 is in the JSON but not in the PNG"):
        check_segments(ids, [{"id": 7}, {"id": 8}, {"id": 26001}], "some.png")
    with pytest.raises(DatasetError, match="some.png: segment id 26001 is in the PNG but not in the JSON"):
        check_segments(ids, [{"id": 7}], "some.png")
    check_segments(ids, [{"id": 7}], "some.png", complete=False)


def test_coco_format_with_any_classes(tmp_path, name):
    for folder in ("images", "panoptic"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (4, 2)).save(tmp_path / "images" / "a.jpg")
    write_panoptic_png(tmp_path / "panoptic" / "a.png", np.array([[1, 1, 2, 2]] * 2))
    segments = [
        {"id": i, "category_id": c, "iscrowd": 0, "area": 4, "bbox": [0, 0, 2, 2]} for i, c in ((1, 30), (2, 10))
    ]
    document = {
        "images": [{"id": 5, "file_name": "a.jpg", "height": 2, "width": 4}],
        "annotations": [{"image_id": 5, "file_name": "a.png", "segments_info": segments}],
        "categories": [{"id": 30, "name": "cat", "isthing": 1}, {"id": 10, "name": "grass", "isthing": 0}],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    categories = [PanopticCategory(30, "cat", True, (255, 0, 0)), PanopticCategory(10, "grass", False, (0, 255, 0))]
    register_coco_panoptic(
        name,
        tmp_path / "images",
        tmp_path / "panoptic",
        tmp_path / "a.json",
        categories=categories,
        vocabulary=Vocabulary((("cat", "cats"), ("grass",))),
        deleted=("grass",),
    )
    (record,) = DatasetCatalog.get(name)
    assert record["image_id"] == 5
    assert [(s["id"], s["category_id"], s["isthing"]) for s in record["segments_info"]] == [(1, 0, True)]
    assert len(MetadataCatalog.get(name).load_complete_records()[0]["segments_info"]) == 2
    document["images"][0]["file_name"] = "../a.jpg"
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match="leads out of"):
        DatasetCatalog.get(name)
