"""Panoptic JSON files that are not what they should be: told by name, before any image is opened."""

from __future__ import annotations

import json
import logging
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zsseg_d2 import Vocabulary
from zsseg_d2.data import DatasetError, PanopticCategory, check_segments, load_coco_panoptic, read_panoptic_png
from zsseg_d2.data.class_deletion.export import ClassDeletedExport, write_deleted_copies
from zsseg_d2.data.panoptic.cityscapes import CITYSCAPES
from zsseg_d2.data.panoptic.coco import CocoLayout
from zsseg_d2.data.panoptic.family import PanopticFamily

from .tiny_cityscapes import make_tiny_cityscapes
from .tiny_zoo import CATEGORIES, make_zoo

CLASSES = [PanopticCategory(c["id"], c["name"], bool(c["isthing"]), (0, 0, c["id"])) for c in CATEGORIES]
ZOO = PanopticFamily(
    prefix="json_zoo",
    folder_name="zoo",
    categories=tuple(CLASSES),
    layout=CocoLayout("images/{split}", "panoptic_{split}", "panoptic_{split}.json"),
    vocabulary=Vocabulary.from_strings([c.name for c in CLASSES]),
)


@pytest.fixture
def root(tmp_path):
    return make_zoo(tmp_path / "zoo")


def load(root):
    return load_coco_panoptic(root / "images" / "train", root / "panoptic_train", root / "panoptic_train.json", CLASSES)


def edit(root, change):
    path = root / "panoptic_train.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def segment(document):
    return document["annotations"][1]["segments_info"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: segment(d).update(iscrowd=2), r"image id 2: 'segments_info\[0\].iscrowd' is neither 0 nor 1"),
        (lambda d: segment(d).update(iscrowd=-1), "iscrowd' is neither 0 nor 1"),
        (lambda d: segment(d).update(iscrowd="1"), "iscrowd' is neither 0 nor 1"),
        (lambda d: segment(d).update(area=-5), r"image id 2: 'segments_info\[0\].area' is of the wrong type"),
        (lambda d: segment(d).update(area=1e300), "area' is of the wrong type"),
        (lambda d: segment(d).update(area=float("nan")), "is not valid JSON"),
        (lambda d: segment(d).update(bbox=[0, 0, float("inf"), 1]), "is not valid JSON"),
        (lambda d: segment(d).update(area="large"), "area' is of the wrong type"),
        (lambda d: d["categories"][1].update(isthing=0), "category 4 \\('zebra'\\) has 'isthing' 0, but is .* a thing"),
        (lambda d: d["categories"][0].update(isthing=True), "category 1 .* has 'isthing' 1, but is .* stuff"),
        (lambda d: d["categories"][0].update(isthing=3), r"'categories\[0\].isthing' is neither 0 nor 1"),
        (lambda d: d["annotations"][0].update(file_name="../\x1b[2J.png"), r"'\.\./\\\\?x1b\[2J\.png' leads out"),
        (lambda d: d["categories"][0].update(name="a\x1b[2J\nerror: b"), r"is unknown to this dataset"),
    ],
)
def test_wrong_values_are_told(root, change, message):
    edit(root, change)
    with pytest.raises(DatasetError, match=message) as error:
        load(root)
    assert "panoptic_train.json" in str(error.value) and str(error.value).isprintable()


def test_a_file_without_isthing_or_with_booleans_is_taken(root):
    expected = load(root)
    edit(root, lambda d: d["categories"][1].pop("isthing"))
    edit(root, lambda d: segment(d).update(iscrowd=False))
    assert load(root) == expected


@pytest.mark.parametrize("kind", ["fifo", "zero", "folder"])
def test_what_is_no_regular_file_is_told(root, kind):
    path = root / "panoptic_train.json"
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(DatasetError, match="panoptic_train.json: is a (device or a pipe|folder)"):
        load(root)


def test_areas_that_are_not_the_number_of_pixels_are_told_once_a_folder(root, caplog, monkeypatch):
    monkeypatch.setattr("zsseg_d2.data.panoptic.png._WARNED", set())
    records = load(root)

    def check(records):
        for record in records:
            ids = read_panoptic_png(record["pan_seg_file_name"])
            check_segments(ids, record["segments_info"], record["pan_seg_file_name"])

    with caplog.at_level(logging.WARNING):
        check(records)
        assert not caplog.records
        true_area = int((np.asarray(Image.open(records[1]["pan_seg_file_name"]))[..., :2] @ [1, 256] == 300).sum())
        edit(root, lambda d: segment(d).update(area=true_area + 1))
        check(load(root))
        check(load(root))
    (record,) = caplog.records
    assert f"2.png: segment 300 has 'area' {true_area + 1} in the JSON, but {true_area} pixels" in record.getMessage()


@pytest.mark.parametrize("name", ["../../outside.jpg", "/etc/passwd", "C:\\x.jpg"])
def test_a_copy_repeats_no_name_that_leads_out(root, tmp_path, name):
    city = make_tiny_cityscapes(tmp_path / "city", images=2)  # finds its images by id, whatever their names in the JSON
    edit(root, lambda d: d["images"][0].update(file_name=name))
    path = city / "gtFine" / "cityscapes_panoptic_train.json"
    document = json.loads(path.read_text())
    document["images"][0]["file_name"] = name
    path.write_text(json.dumps(document))
    for source, family in ((root, ZOO), (city, CITYSCAPES)):
        copy = ClassDeletedExport(tmp_path / "out", (family.categories[2].id,))
        with pytest.raises(DatasetError, match="leads out"):
            write_deleted_copies(source, "train", [copy], family=family, num_workers=1, progress=False)
        assert not (tmp_path / "out").exists()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**40) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.data())
def test_whatever_stands_in_a_file_is_loaded_or_told(tmp_path_factory, value, data):
    root = make_zoo(tmp_path_factory.mktemp("any") / "zoo", images=1)
    document = json.loads((root / "panoptic_train.json").read_text())
    parent, key = {"all": document}, "all"
    while isinstance(parent[key], dict | list) and parent[key] and data.draw(st.integers(0, 4)):
        parent = parent[key]
        key = data.draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent))))
    parent[key] = value
    (root / "panoptic_train.json").write_text(json.dumps(document if key != "all" else value))
    try:
        load(root)
    except DatasetError as error:
        assert "panoptic" in str(error) or "image" in str(error)
        assert str(error).isprintable()
