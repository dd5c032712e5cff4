"""Families of panoptic datasets: registered names, deletion, pseudo-labels and copies for a dataset from outside."""

from __future__ import annotations

import json
import logging
import pickle
from dataclasses import replace

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from zsseg_d2 import Vocabulary
from zsseg_d2.data import (
    PANOPTIC_FAMILIES,
    CocoLayout,
    DatasetError,
    PanopticFamily,
    check_segments,
    family_of,
    read_panoptic_png,
    register_panoptic_family,
    unregister_panoptic_family,
)
from zsseg_d2.data.class_deletion.export import ClassDeletedExport, write_deleted_copies
from zsseg_d2.data.panoptic.cityscapes import CITYSCAPES, MINICITY
from zsseg_d2.data.panoptic.coco import COCO, MINIWORLD
from zsseg_d2.data.pseudo_labels.dataset import find_pseudo_labels, pseudo_labels_folder
from zsseg_d2.data.pseudo_labels.targets import Thresholds
from zsseg_d2.data.pseudo_labels.writer import PseudoLabelSet

from .tiny_cityscapes import make_tiny_cityscapes
from .tiny_zoo import SIZE, documented_example, make_zoo

ANY = Thresholds(0.0, 1, 0.0)


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """The folder of all datasets, with a zoo in it."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    make_zoo(tmp_path / "zoo")
    make_zoo(tmp_path / "zoo", "val", 2)
    return tmp_path


@pytest.fixture
def zoo(datasets):
    """The family of the documented example; its names are taken out of the catalogs again."""
    code = documented_example()
    assert len(code.splitlines()) <= 22
    names: dict = {}
    exec(code, names)
    yield names["ZOO"]
    unregister_panoptic_family("zoo")


def classes(name: str) -> set[int]:
    return {s["category_id"] for r in DatasetCatalog.get(name) for s in r["segments_info"]}


def test_all_names_of_a_family(zoo):
    names = [name for name in DatasetCatalog.list() if name.startswith("zoo_")]
    kinds = ("pseudo_labels", "region_labels")
    pseudo = [f"zoo_train_{kind}_{name}" for kind in kinds for name in ("no_lions", "no_animals")]
    deleted = ["zoo_train_no_lions", "zoo_train_no_animals", "zoo_train_without_grass"]
    assert sorted(names) == sorted(["zoo_train", "zoo_val", *deleted, *pseudo])
    assert all(family_of(name) is zoo for name in names)
    assert family_of(["nothing", "zoo_val", "minicity_panoptic_val"]) is zoo
    for name in names:
        metadata = MetadataCatalog.get(name)
        assert metadata.vocabulary == zoo.vocabulary and metadata.out_contiguous_ids == (1, 2)
        assert metadata.thing_dataset_id_to_contiguous_id == {4: 1, 9: 2}


def test_deletion_in_records(zoo):
    assert classes("zoo_train") == classes("zoo_val") == {0, 1, 2}
    assert classes("zoo_train_no_lions") == {0, 1} and classes("zoo_train_no_animals") == {0}
    assert classes("zoo_train_without_grass") == {1, 2}
    assert {s["category_id"] for r in zoo.load("val", deleted=("Zebra",)) for s in r["segments_info"]} == {0, 2}
    assert zoo.load("train", "no_lions") == DatasetCatalog.get("zoo_train_no_lions")
    metadata = MetadataCatalog.get("zoo_train_no_animals")
    assert (metadata.deleted_label_ids, metadata.deleted_contiguous_ids) == ((4, 9), (1, 2))
    assert len(metadata.load_complete_records()[0]["segments_info"]) == 5


def write_pseudo_labels(family: PanopticFamily, configuration: str, category: int) -> PseudoLabelSet:
    """Write the set in its default place, from predictions whose lower half is one segment of `category`."""
    target = PseudoLabelSet(family, "train", configuration, pseudo_labels_folder(family, configuration), ANY)
    for record in target.open({"weights": "none"}):
        predicted = np.zeros((record["height"], record["width"]), np.int32)
        predicted[record["height"] // 2 :] = 1
        target.add(record, predicted, [{"id": 1, "category_id": category, "score": 0.75}])
    target.finish({"train_with": "anything"})
    return target


def test_pseudo_labels(zoo, datasets):
    name = "zoo_train_pseudo_labels_no_lions"
    with pytest.raises(DatasetError, match="no pseudo-labels .*zoo_pseudo_labels_no_lions; make them with .*no_lions`"):
        DatasetCatalog.get(name)
    write_pseudo_labels(zoo, "no_lions", 2)
    folder = datasets / "zoo_pseudo_labels_no_lions"
    records, kept = DatasetCatalog.get(name), DatasetCatalog.get("zoo_train_no_lions")
    assert MetadataCatalog.get(name).panoptic_json == str(folder / "panoptic_train.json")
    assert MetadataCatalog.get(name).pseudo_label_contiguous_ids == (2,)
    for record, before in zip(records, kept, strict=True):
        assert record["file_name"] == str(folder / "images" / "train" / f"{record['image_id']}.jpg")
        ids = read_panoptic_png(record["pan_seg_file_name"], SIZE)
        check_segments(ids, record["segments_info"], "png")
        assert record["segments_info"][:-1] == before["segments_info"]
        lion = record["segments_info"][-1]
        assert (lion["id"], lion["category_id"], lion["isthing"]) == (9000, 2, True)
        assert lion["area"] == (ids == 9000).sum() > 0
        void = np.isin(read_panoptic_png(before["pan_seg_file_name"]), (0, 5, 6))
        assert np.array_equal(ids == 9000, void & (np.arange(SIZE[0]) >= SIZE[0] // 2)[:, None])
    entry = json.loads((folder / "manifest.json").read_text())["splits"]["train"]
    assert entry["classes"]["lion"] == {
        "label_id": 9,
        "origin": "zero_shot",
        "images": 3,
        "segments": 3,
        "pixels": sum(r["segments_info"][-1]["area"] for r in records),
        "mean_score": 0.75,
    }
    assert entry["arguments"]["deleted_label_ids"] == [9] and entry["segments"] == {"ground_truth": 9, "zero_shot": 3}


def test_pseudo_labels_of_other_classes_under_the_same_name_are_refused(zoo):
    write_pseudo_labels(zoo, "no_lions", 2)
    changed = replace(zoo, prefix="other", out_configuration=None, configurations={"no_lions": ("lion", "zebra")})
    register_panoptic_family(changed)
    try:
        with pytest.raises(DatasetError, match="when configuration no_lions deleted other classes"):
            DatasetCatalog.get("other_train_pseudo_labels_no_lions")
    finally:
        unregister_panoptic_family("other")


def test_a_category_id_of_zero_makes_no_void_segment(datasets):
    first = replace(COCO.categories[0], id=0, name="grass", isthing=False)
    second = replace(COCO.categories[1], id=1, name="lion", isthing=True)
    from zsseg_d2.data.pseudo_labels.targets import add_pseudo_labels

    predicted = np.array([[1, 2]])
    segments = [{"id": 1, "category_id": 0, "score": 0.5}, {"id": 2, "category_id": 1, "score": 0.5}]
    for categories in ((first, second), (replace(first, isthing=True), second)):
        ids, found = add_pseudo_labels(
            np.zeros((1, 2), np.int32), [], predicted, segments, deleted=(0, 1), categories=categories, thresholds=ANY
        )
        assert (ids > 0).all() and sorted(s["id"] for s in found) == sorted(ids.ravel().tolist())


def test_copies_without_classes(zoo, datasets):
    copy = ClassDeletedExport(datasets / "out", (4, 9))
    write_deleted_copies(datasets / "zoo", "train", [copy], family=zoo, num_workers=1, progress=False)
    moved = replace(zoo, folder_name="out")
    complete, records = zoo.load("train", "no_animals"), moved.load("train")
    for before, record in zip(complete, records, strict=True):
        assert record["segments_info"] == before["segments_info"]
        assert set(np.unique(read_panoptic_png(record["pan_seg_file_name"]))) == {0, 300}
    entry = json.loads((datasets / "out" / "manifest.json").read_text())["splits"]["train"]
    assert (entry["configuration"], entry["deleted"]) == ("no_animals", ["zebra", "lion"])
    assert entry["segments"] == {"kept": 3, "deleted": 12}
    write_deleted_copies(datasets / "zoo", "train", [copy], family=zoo, num_workers=1, progress=False)
    assert copy.complete
    inside = ClassDeletedExport(datasets / "zoo" / "images", (4,))
    with pytest.raises(DatasetError, match="inside the input"):
        write_deleted_copies(datasets / "zoo", "train", [inside], family=zoo, progress=False)


def test_what_a_family_refuses(zoo):
    for changes, message in (
        ({"configurations": {"x": ("tiger",)}}, "There is no class 'tiger'"),
        ({"out_configuration": "x"}, "There is no configuration 'x'"),
        ({"categories": (*zoo.categories[:2], zoo.categories[0])}, "two categories have the same id"),
        ({"categories": (*zoo.categories[:2], replace(zoo.categories[0], id=2))}, "two categories have the same name"),
        ({"categories": (*zoo.categories[:2], replace(zoo.categories[2], id=99_999))}, "99999 is not in"),
        ({"vocabulary": Vocabulary((("grass",),))}, "The vocabulary has 1 classes, but the dataset has 3"),
    ):
        with pytest.raises(DatasetError, match=message):
            replace(zoo, **changes)
    for outside in ("/data/{split}", "../{split}", "C:\\x", ""):
        with pytest.raises(DatasetError, match="CocoLayout: .* must be relative"):
            CocoLayout("images", outside, "a.json")
    with pytest.raises(DatasetError, match="There is no configuration 'no_zebras'; choose one of no_lions, no_animals"):
        zoo.load("train", "no_zebras")
    with pytest.raises(DatasetError, match="nothing: not of a panoptic family. Fix: .* or zoo, or register"):
        family_of(["nothing"])


def test_built_in_families():
    assert list(PANOPTIC_FAMILIES.values())[:4] == [CITYSCAPES, MINICITY, COCO, MINIWORLD]
    for name in ("val_panoptic", "train_panoptic_with_sem_seg", "panoptic_val", "panoptic_train_no_things"):
        assert f"openvocab_coco_2017_{name}" in DatasetCatalog.list()
        assert family_of(f"openvocab_coco_2017_{name}") is COCO
    assert MetadataCatalog.get("miniworld_panoptic_train_no_things").deleted_contiguous_ids == tuple(range(24))
    assert pickle.loads(pickle.dumps(MINICITY)) == MINICITY


def test_categories_of_miniworld_are_those_of_the_renderer():
    from zsseg_d2.data.synthetic import PRETRAINING

    categories = [(c.id, c.name, c.isthing) for c in MINIWORLD.categories]
    assert categories == [(c.id, c.name, c.isthing) for c in PRETRAINING.categories]
    assert MINIWORLD.vocabulary.classes == tuple(c.synonyms for c in PRETRAINING.categories)


def test_former_names_of_pseudo_labels(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    make_tiny_cityscapes(tmp_path / "cityscapes", images=2)
    write_pseudo_labels(CITYSCAPES, "007", 12)
    name, former = (f"{CITYSCAPES.prefix}_train_{kind}_007" for kind in ("pseudo_labels", "invocab"))
    expected = DatasetCatalog.get(name)
    with caplog.at_level(logging.WARNING, logger="zsseg_d2"):
        assert DatasetCatalog.get(former) == expected and DatasetCatalog.get(former) == expected
    (warning,) = (r.getMessage() for r in caplog.records if "deprecated" in r.getMessage())
    assert f"'{former}'" in warning and f"'{name}'" in warning
    usual, kept = vars(MetadataCatalog.get(name)), vars(MetadataCatalog.get(former))
    assert {k: v for k, v in usual.items() if k != "name"} == {k: v for k, v in kept.items() if k != "name"}

    new, old = pseudo_labels_folder(CITYSCAPES, "007"), tmp_path / "cityscapes_invocab_007"
    new.rename(old)
    assert find_pseudo_labels(CITYSCAPES, "007") == old
    for dataset in (name, former):
        records = DatasetCatalog.get(dataset)
        assert [r["segments_info"] for r in records] == [r["segments_info"] for r in expected]
        assert records[0]["file_name"].startswith(str(old))
    new.mkdir()
    assert find_pseudo_labels(CITYSCAPES, "007") == new
