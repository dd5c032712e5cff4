"""Registering: complete or not at all, twice the same, and what to do about a name that is taken."""

from __future__ import annotations

from dataclasses import replace

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from zsseg_d2 import Vocabulary
from zsseg_d2.data import (
    PANOPTIC_FAMILIES,
    CocoLayout,
    DatasetError,
    PanopticCategory,
    PanopticFamily,
    register_cityscapes_panoptic,
    register_coco_panoptic,
    register_panoptic_family,
    register_phrasecut,
    unregister_panoptic_family,
)
from zsseg_d2.data.catalogs import remove_from_catalogs

from .tiny_zoo import CATEGORIES, make_zoo


@pytest.fixture(autouse=True)
def no_new_names():
    before = set(DatasetCatalog.list()), set(MetadataCatalog.list()), set(PANOPTIC_FAMILIES)
    yield
    for prefix in set(PANOPTIC_FAMILIES) - before[2]:
        unregister_panoptic_family(prefix)
    remove_from_catalogs({*DatasetCatalog.list(), *MetadataCatalog.list()} - before[0] - before[1])


def categories() -> list[PanopticCategory]:
    return [PanopticCategory(c["id"], c["name"], bool(c["isthing"]), (c["id"], 0, 0)) for c in CATEGORIES]


def register(root, words=("grass", "zebra", "lion"), **options) -> None:
    register_coco_panoptic(
        "mine",
        root / "images" / "train",
        root / "panoptic_train",
        root / "panoptic_train.json",
        categories=categories(),
        vocabulary=Vocabulary.from_strings(words),
        **options,
    )


def test_a_failed_registration_leaves_the_name_free(tmp_path):
    make_zoo(tmp_path)
    for wrong in ({"words": ("grass",)}, {"deleted": ("tiger",)}):
        with pytest.raises(DatasetError):
            register(tmp_path, **wrong)
        assert "mine" not in DatasetCatalog.list() and "mine" not in MetadataCatalog.list()
    register(tmp_path)
    assert len(DatasetCatalog.get("mine")) == 3


def test_a_cell_run_again(tmp_path):
    make_zoo(tmp_path)
    calls = []
    for run in range(3):
        register(tmp_path, deleted=("lion",), prepare=lambda run=run: calls.append(run))
    records = DatasetCatalog.get("mine")
    assert calls == [2] and {s["category_id"] for r in records for s in r["segments_info"]} == {0, 1}


@pytest.mark.parametrize("change", [{"words": ("lawn", "zebra", "lion")}, {"deleted": (4,)}])
def test_another_dataset_of_the_same_name(tmp_path, change):
    make_zoo(tmp_path)
    register(tmp_path)
    before = dict(vars(MetadataCatalog.get("mine")))
    with pytest.raises(DatasetError, match=r"'mine' is registered already.*DatasetCatalog.remove\('mine'\)"):
        register(tmp_path, **change)
    assert vars(MetadataCatalog.get("mine")) == before
    DatasetCatalog.remove("mine")  # what the message says
    register(tmp_path, **change)
    assert MetadataCatalog.get("mine").stuff_classes[0] == change.get("words", ["grass"])[0]
    assert MetadataCatalog.get("mine").deleted_label_ids == change.get("deleted", ())


def test_every_registrar(tmp_path):
    for _ in range(2):
        register_cityscapes_panoptic("city_twice", tmp_path, "train", deleted="008")
        register_phrasecut("phrases_twice", tmp_path, "val")
    with pytest.raises(DatasetError, match="'city_twice' is registered already, with other entries deleted_label_ids"):
        register_cityscapes_panoptic("city_twice", tmp_path, "train", deleted="007")
    with pytest.raises(DatasetError, match="'phrases_twice' is registered already, with other entries split"):
        register_phrasecut("phrases_twice", tmp_path, "test")
    DatasetCatalog.register("by_hand", list)
    with pytest.raises(DatasetError, match="'by_hand' is registered already"):
        register_phrasecut("by_hand", tmp_path, "test")


def family(**changes) -> PanopticFamily:
    description = {
        "prefix": "cells",
        "folder_name": "zoo",
        "categories": tuple(categories()),
        "layout": CocoLayout("images/{split}", "panoptic_{split}", "panoptic_{split}.json"),
        "vocabulary": Vocabulary.from_strings(["grass", "zebra", "lion"]),
        "configurations": {"no_lions": ("lion",)},
        "prepare": lambda folder: None,
    }
    return PanopticFamily(**{**description, **changes})


def test_a_family_registered_again():
    for _ in range(2):
        assert register_panoptic_family(family()) is PANOPTIC_FAMILIES["cells"]
    names = [name for name in DatasetCatalog.list() if name.startswith("cells_")]
    kinds = ("", "pseudo_labels_", "region_labels_")
    assert sorted(names) == sorted(["cells_train", "cells_val", *(f"cells_train_{kind}no_lions" for kind in kinds)])
    changed = family(configurations={"no_lions": ("lion", "zebra")})
    with pytest.raises(DatasetError, match=r"unregister_panoptic_family\('cells'\)"):
        register_panoptic_family(changed)
    assert MetadataCatalog.get("cells_train_no_lions").deleted_label_ids == (9,)
    unregister_panoptic_family("cells")
    assert not [name for name in (*DatasetCatalog.list(), *MetadataCatalog.list()) if name.startswith("cells_")]
    register_panoptic_family(changed)
    assert MetadataCatalog.get("cells_train_no_lions").deleted_label_ids == (4, 9)
    with pytest.raises(DatasetError, match="no panoptic family 'nothing'"):
        unregister_panoptic_family("nothing")


def test_a_family_is_registered_as_a_whole_or_not_at_all(monkeypatch):
    DatasetCatalog.register("cells_train_no_lions", list)
    with pytest.raises(DatasetError, match="dataset 'cells_train_no_lions' is registered already"):
        register_panoptic_family(family())
    assert [name for name in DatasetCatalog.list() if name.startswith("cells_")] == ["cells_train_no_lions"]
    DatasetCatalog.remove("cells_train_no_lions")

    def interrupt(family):
        raise KeyboardInterrupt

    monkeypatch.setattr("zsseg_d2.data.families.register_pseudo_labels", interrupt)
    with pytest.raises(KeyboardInterrupt):
        register_panoptic_family(replace(family(), splits=("train", "test")))
    assert not [name for name in DatasetCatalog.list() if name.startswith("cells_")]
    assert "cells" not in PANOPTIC_FAMILIES
