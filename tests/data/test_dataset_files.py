"""Datasets that a YAML file describes: the format, the registered names, and what is wrong with a file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zsseg_d2.cli import delete_classes
from zsseg_d2.data import (
    PANOPTIC_FAMILIES,
    DatasetError,
    family_from_file,
    read_panoptic_png,
    register_dataset_file,
)

from .tiny_garden import CLASSES, YAML, make_garden

pytestmark = pytest.mark.usefixtures("only_old_families")


def write(path, *changes, extra=""):
    """Write the garden's YAML with parts replaced, and text added."""
    text = YAML
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text + extra)
    return path


def problem(path) -> str:
    with pytest.raises(DatasetError) as stop:
        register_dataset_file(path)
    assert "garden" not in PANOPTIC_FAMILIES and "garden_val" not in DatasetCatalog.list()
    text = str(stop.value)
    assert "\n" not in text and ("Fix:" in text or "choose one of" in text)
    return text


def test_all_names_of_a_file(garden):
    assert register_dataset_file(garden) is PANOPTIC_FAMILIES["garden"]
    names = {name for name in DatasetCatalog.list() if name.startswith("garden_")}
    kinds = ("", "pseudo_labels_", "region_labels_")
    deleted = {f"garden_train_{kind}no_vehicles" for kind in kinds}
    assert names == {"garden_train", "garden_val", *deleted}
    metadata = MetadataCatalog.get("garden_train_no_vehicles")
    assert metadata.category_names == ["lawn", "sky", "fence", "visitor", "cart", "coach", "lorry"]  # by id
    assert metadata.vocabulary.classes[0] == ("terrain", "lawn") and metadata.vocabulary.classes[6] == (
        "truck",
        "lorry",
    )
    assert metadata.thing_dataset_id_to_contiguous_id == {11: 3, 12: 4, 20: 5, 21: 6}
    assert metadata.deleted_contiguous_ids == (4, 5, 6) == MetadataCatalog.get("garden_val").out_contiguous_ids
    records = DatasetCatalog.get("garden_val")
    assert sorted(s["category_id"] for s in records[0]["segments_info"]) == [0, 1, 2, 3, 3, 4, 5, 6]
    kept = {s["category_id"] for r in DatasetCatalog.get("garden_train_no_vehicles") for s in r["segments_info"]}
    assert kept == {0, 1, 2, 3}


def test_registered_again_and_changed(garden):
    for _ in range(2):
        register_dataset_file(garden)
    write(garden, ("[cart, coach, lorry]", "[12]"))
    register_dataset_file(garden)
    assert MetadataCatalog.get("garden_train_no_vehicles").deleted_contiguous_ids == (4,)
    other = garden.with_name("other.yaml")
    other.write_text(YAML)
    with pytest.raises(DatasetError, match="'garden' is registered already by .*garden.yaml. Fix: choose another"):
        register_dataset_file(other)
    write(garden, ("[cart, coach, lorry]", "[tractor]"))
    with pytest.raises(DatasetError, match="no class 'tractor'"):
        register_dataset_file(garden)
    assert MetadataCatalog.get("garden_train_no_vehicles").deleted_contiguous_ids == (4,)


def test_a_name_of_the_package(garden):
    write(garden, ("name: garden", "name: minicity_panoptic"))
    assert "'minicity_panoptic' is registered already. Fix: choose another 'name'" in problem(garden)


def test_other_ways_to_say_the_same(garden, tmp_path):
    expected = family_from_file(garden)
    words = {name: words for name, _, words in CLASSES.values()}
    places = {
        s: {"images": f"images/{s}", "panoptic": f"panoptic_{s}", "annotations": f"panoptic_{s}.json"}
        for s in ("train", "val")
    }
    full = {
        "name": "garden",
        "root": str(garden.parent),
        "splits": places,
        "vocabulary": sorted(words.values()),
        "categories": [{"id": i, "name": n, "thing": t} for i, (n, t, _) in CLASSES.items()],
        "delete": {"no_vehicles": ["12", 20, "Lorry"]},
        "out": ["cart", "coach", "lorry"],
    }
    path = tmp_path / "full.yaml"
    path.write_text(json.dumps(full))
    found = family_from_file(path)
    for name in ("categories", "vocabulary", "configurations", "splits"):
        assert getattr(found, name) == getattr(expected, name)
    assert found.out_metadata() == expected.out_metadata() == {"out_contiguous_ids": (4, 5, 6)}
    assert found.load("val") == expected.load("val")
    (garden.parent / "words.txt").write_text("\n".join(words.values()))
    write(garden, (YAML[YAML.index("vocabulary") : YAML.index("delete")], "vocabulary: words.txt\n"))
    assert family_from_file(garden).vocabulary == expected.vocabulary


def test_things_and_stuff(tmp_path):
    path = make_garden(tmp_path / "garden", isthing=False)
    assert "whether 'lawn' is a thing or stuff. Fix: list it under 'things' or 'stuff'" in problem(path)
    expected = [False, False, False, True, True, True, True]
    for extra in ("things: [visitor, cart, coach, lorry]", "stuff: [lawn, sky, fence]"):
        write(path, extra=extra)
        assert [c.isthing for c in family_from_file(path).categories] == expected
    write(path, extra="things: [visitor]\nstuff: [lawn, sky, fence]")
    assert "whether 'cart' is a thing" in problem(path)
    write(path, extra="things: [visitor, cart, coach, lorry, sky]\nstuff: [lawn, sky, fence]")
    assert "'sky' is both thing and stuff. Fix: choose one" in problem(path)
    (tmp_path / "garden" / "panoptic_train.json").unlink()
    stated = make_garden(tmp_path / "stated")
    write(stated, extra="things: [visitor, cart, coach]")
    assert "'lorry' is stuff by 'things' and 'stuff', but a thing where" in problem(stated)


@pytest.mark.parametrize(("things", "kept"), [("[]", 3), ("[lawn, sky, fence, visitor]", 4)])
def test_only_stuff_only_things_and_one_class(tmp_path, things, kept):
    """Every dataset of at least one class is one."""
    path = make_garden(tmp_path / "garden", isthing=False)
    names = [name for name, _, _ in CLASSES.values()][:kept]
    for split in ("train", "val"):
        document = json.loads((path.parent / f"panoptic_{split}.json").read_text())
        document["categories"] = [c for c in document["categories"] if c["name"] in names]
        for annotation in document["annotations"]:
            listed = {c["id"] for c in document["categories"]}
            annotation["segments_info"] = [s for s in annotation["segments_info"] if s["category_id"] in listed]
        (path.parent / f"panoptic_{split}.json").write_text(json.dumps(document))
    start, end = YAML.index("vocabulary"), YAML.index("delete")
    path.write_text(YAML[:start] + f"things: {things}\n")
    assert end > start
    family = register_dataset_file(path)
    assert {c.isthing for c in family.categories} == {kept == 4} and family.vocabulary.names == tuple(names)
    assert len(family.load("val")) == 4


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("  coach: bus, coach\n", "", "'vocabulary': it does not know the class 'coach' of the annotations"),
        (
            "  coach: bus, coach\n",
            "  coach: bus, coach\n  tram: tram\n",
            "'tram' is no class of the annotations. Fix: remove it",
        ),
        ("  coach: bus, coach\n", "  coach: bus, coach\n  coach: coach\n", "line 14: 'coach' is given twice"),
        ("images: images/{split}", "images: pictures/{split}", None),
        (
            "images: images/{split}",
            "images: ../{split}",
            "'../{split}' leads out of the dataset's folder. Fix: set 'root'",
        ),
        ("annotations: panoptic_{split}.json", "annotations: no.json", "there are no annotations"),
        ("splits: [train, val]", "splits: []", "'splits' is empty"),
        ("splits: [train, val]", "splits: [a/b]", "splits: 'a/b' cannot be part of a registered name"),
        ("name: garden", "name: ../garden", "name: '../garden' cannot be part of a registered name"),
        ("name: garden\n", "", "'name' is missing"),
        ("panoptic: panoptic_{split}\n", "", "'panoptic' is missing"),
        ("out: no_vehicles", "out: no_trees", "There is no configuration 'no_trees'"),
        ("out: no_vehicles", "oout: no_vehicles", "unknown field oout"),
        ("out: no_vehicles", "out: &a [*a]", "the alias '*a' is not read"),
        ("out: no_vehicles", "out: [[[[[[[[[]]]]]]]]]", "nested too deeply"),
        ("out: no_vehicles", "out: [", "is not valid YAML (line"),
        ("out: no_vehicles", "out: !!python/object/apply:os.getcwd []", "is not valid YAML"),
        ("delete:\n  no_vehicles", "delete:\n  008", "There is no configuration 'no_vehicles'"),
        ("vocabulary:\n", "words_by: order\nvocabulary:\n", "'words_by: order' needs more. Fix: add 'categories'"),
        ("name: garden", "name: garden\nlayout: cityscapes", "'images' stands beside 'splits'"),
    ],
)
def test_what_is_wrong_is_named(garden, old, new, told):
    write(garden, (old, new))
    if told is None:  # found when the images are looked for
        register_dataset_file(garden)
        with pytest.raises(DatasetError, match="Split 'val': there is no folder .*pictures/val. Fix: .*garden.yaml"):
            DatasetCatalog.get("garden_val")
        return
    text = problem(garden)
    assert told in text and str(garden) in text


def test_annotations_that_disagree(garden):
    path = garden.parent / "panoptic_val.json"
    document = json.loads(path.read_text())
    document["categories"][0]["name"] = "tractor"
    path.write_text(json.dumps(document))
    assert "category 21 ('tractor') is listed twice, or is another one in" in problem(garden)
    document["categories"][0] = document["categories"][1]
    path.write_text(json.dumps(document))
    assert "category 20 ('coach') is listed twice" in problem(garden)
    path.write_text('{"categories": 3}')
    assert "'categories' is of the wrong type" in str(pytest.raises(DatasetError, register_dataset_file, garden).value)


def test_files_that_are_none(tmp_path):
    for path, told in ((tmp_path / "no.yaml", "there is no such dataset file"), (tmp_path, "is a folder")):
        assert told in problem(path)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["val", "sky", "{split}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["name", "root", "images", "splits", "vocabulary", "categories", "things", "delete", "out", "aliases", "layout"]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_any_structure_is_accepted_or_refused(garden, changes):
    import yaml

    content = yaml.safe_load(YAML) | changes
    path = garden.with_name("odd.yaml")
    path.write_text(yaml.safe_dump(content))
    try:
        family = family_from_file(path)
    except DatasetError as error:
        assert str(error).isprintable()
    else:
        assert len(family.vocabulary) == len(family.categories)


def test_class_deleted_copies(garden, tmp_path):
    words = ["--dataset", str(garden), "--split", "train", "val", "--num-workers", "1"]
    assert delete_classes.main([*words, "--configuration", "no_vehicles", "--output", str(tmp_path / "copy")]) == 0
    document = json.loads((tmp_path / "copy" / "panoptic_val.json").read_text())
    assert {s["category_id"] for a in document["annotations"] for s in a["segments_info"]} == {3, 5, 6, 11}
    path = tmp_path / "copy" / "copy.yaml"
    path.write_text(YAML.replace("name: garden", "name: copy"))
    for record in register_dataset_file(path).load("val"):
        kept = {s["id"] for s in record["segments_info"]}
        assert set(np.unique(read_panoptic_png(record["pan_seg_file_name"]))) == kept | {0} == {0, 30, 50, 60, 100, 101}
