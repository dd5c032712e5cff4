"""Semantic datasets: YAML files, folders of label maps in every format, packaged class lists, and what is refused."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from tests.data.tiny_semantic import label_map, write_pair
from zsseg_d2 import Vocabulary
from zsseg_d2.data import PANOPTIC_FAMILIES, DatasetError, family_from_file
from zsseg_d2.data.annotations import read_annotation
from zsseg_d2.data.panoptic.mapper import PanopticMapper
from zsseg_d2.data.semantic.label_maps import read_label_map

# Facts of the datasets, with the number of classes, some classes, and the printed names as one hash.
LISTS = {
    "ade20k_full": (
        847,
        {0: "wall", 100: "buffet", 300: "altar", 500: "cat", 846: "adding machine"},
    ),
    "pascal_context_59": (59, {0: "aeroplane", 18: "computer", 32: "light", 40: "road", 49: "table", 58: "wood"}),
    "pascal_context_459": (459, {0: "accordion", 61: "case", 231: "light", 323: "road", 430: "unknown", 458: "wool"}),
    "pascal_voc_20": (20, {0: "aeroplane", 14: "person", 19: "tvmonitor"}),
    "pascal_voc_21": (21, {0: "background", 15: "person", 20: "tvmonitor"}),
}
SETS = {
    "openvocab_ade20k_full_sem_seg": (
        "ADE20K_2021_17_01",
        "images_detectron2",
        "annotations_detectron2",
        ".tif",
        65535,
    ),
    "openvocab_pascal_ctx59_sem_seg": ("pascal_ctx_d2", "images", "annotations_ctx59", ".png", 255),
    "openvocab_pascal_ctx459_sem_seg": ("pascal_ctx_d2", "images", "annotations_ctx459", ".tif", 65535),
    "openvocab_pascal20_sem_seg": ("pascal_voc_d2", "images", "annotations_pascal20", ".png", 255),
    "openvocab_pascal21_sem_seg": ("pascal_voc_d2", "images", "annotations_pascal21", ".png", 255),
}
# Of the 459 classes of Pascal Context, counted from 1, those that the set of 59 keeps, as its preparation lists them.
KEPT_OF_459 = (
    2,
    9,
    18,
    19,
    22,
    23,
    25,
    31,
    33,
    34,
    44,
    45,
    46,
    59,
    65,
    68,
    72,
    80,
    85,
    98,
    104,
    105,
    113,
    115,
    144,
    158,
)
KEPT_OF_459 += (159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360)
KEPT_OF_459 += (366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458)


@pytest.mark.parametrize("name", LISTS)
def test_packaged_class_lists(name):
    vocabulary = Vocabulary.load(name)
    count, some = LISTS[name]
    assert len(vocabulary) == count and {k: vocabulary.names[k] for k in some} == some
    vocabulary.check_distinct()


def test_lists_agree_with_each_other():
    """Two lists of Pascal Context, which come from different sources, and two of VOC."""
    full, frequent = Vocabulary.load("pascal_context_459"), Vocabulary.load("pascal_context_59")
    assert tuple(full.names[k - 1] for k in KEPT_OF_459) == frequent.names
    assert Vocabulary.load("pascal_voc_21").names[1:] == Vocabulary.load("pascal_voc_20").names
    assert set(Vocabulary.load("pascal_voc_20").names) - set(frequent.names) == {"diningtable"}


def test_synonyms_of_ade20k_full():
    """As published: the order of synonyms decides only what is printed, once for each class."""
    vocabulary = Vocabulary.load("ade20k_full")
    assert vocabulary.classes[21] == ("sofa", "couch", "lounge")
    assert vocabulary.classes[191] == ("traveling bag", "bag", "travelling bag", "grip", "suitcase")
    assert vocabulary.classes[768] == ("control board", "control panel", "instrument panel", "board", "panel")
    assert len({word for entry in vocabulary.classes for word in entry}) < len(vocabulary.rows)  # shared, as published
    text = "\n".join(", ".join(sorted(entry)) for entry in vocabulary.classes)
    assert hashlib.sha256(text.encode()).hexdigest() == ADE20K_FULL


ADE20K_FULL = "9c52f0ded88faef4ec64357bb51f2b4dd394a4a9ae307619c6e031f4274542c6"


@pytest.mark.parametrize("name", SETS)
def test_names_and_folders_of_fcclip(name, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    folder, images, labels, ending, ignored = SETS[name]
    family = PANOPTIC_FAMILIES[name]
    last = len(family.categories) - 1
    for split, place in (("train", "training"), ("val", "validation")):
        root = tmp_path / folder
        drawn = label_map(1, (0, last), ignored)
        write_pair(root / images / place, root / labels / place, "a", drawn, ending, last > 255)
        (record,) = DatasetCatalog.get(f"{name}_{split}")
        assert record["file_name"] == str(tmp_path / folder / images / place / "a.jpg")
        assert record["sem_seg_file_name"] == str(tmp_path / folder / labels / place / f"a{ending}")
        ids, segments = read_annotation(record)
        assert {s["category_id"] for s in segments} == {0, last} and not any(s["isthing"] for s in segments)
        for s in segments:
            assert np.array_equal(ids == s["id"], drawn == s["category_id"])
        assert np.array_equal(ids == 0, drawn == ignored)
        assert MetadataCatalog.get(f"{name}_{split}").ignore_label == ignored


FORMATS = [(mode, ending) for mode in ("L", "P", "I;16", "1") for ending in (".png", ".tif")]


@pytest.mark.parametrize(("mode", "ending"), [*FORMATS, ("I", ".tif")])
def test_formats_of_label_maps(mode, ending, tmp_path):
    """Of a palette, the indices count, not the colors."""
    wide = mode in ("I;16", "I")
    drawn = label_map(0, (0, 1) if mode == "1" else (0, 3, 700 if wide else 200), 1 if mode == "1" else 255)
    image = Image.fromarray(drawn.astype({"I;16": np.uint16, "I": np.int32}.get(mode, np.uint8)))
    if mode == "P":
        image = Image.fromarray(drawn.astype(np.uint8), "L").copy()
        image.putpalette(list(np.random.default_rng(0).integers(0, 255, 768)))
    elif mode == "1":
        image = Image.fromarray(drawn.astype(bool))
    image.save(tmp_path / f"map{ending}")
    assert np.array_equal(read_label_map(tmp_path / f"map{ending}", drawn.shape), drawn)


BAD_MAPS = {
    "colors": ("RGB", "holds RGB pixels, but a label map has one channel"),
    "alpha": ("LA", "holds LA pixels"),
    "float": ("F", "holds F pixels"),
}


@pytest.mark.parametrize("case", BAD_MAPS)
def test_images_that_are_no_label_maps(case, tmp_path):
    mode, told = BAD_MAPS[case]
    Image.new(mode, (4, 4)).save(tmp_path / "map.tif")
    with pytest.raises(DatasetError, match=rf"map.tif: {told}.* Fix: "):
        read_label_map(tmp_path / "map.tif")
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(tmp_path / "wide.tif")
    with pytest.raises(DatasetError, match="wide.tif: has the value 70000, .* from 0 to 65535"):
        read_label_map(tmp_path / "wide.tif")
    (tmp_path / "half.tif").write_bytes((tmp_path / "wide.tif").read_bytes()[:60])
    with pytest.raises(DatasetError, match="label map .*half.tif is truncated or damaged"):
        read_label_map(tmp_path / "half.tif")
    with pytest.raises(DatasetError, match="map.tif is 4x4 pixels, but its image is 6x5"):
        read_label_map(tmp_path / "map.tif", (5, 6))


YAML = """\
name: fields
images: photos
labels: maps
splits: [val]
vocabulary: words.txt
"""


@pytest.fixture
def fields(tmp_path):
    """Three classes, nested folders, a JPEG without a label map, and a file that is no image."""
    for k, folder in enumerate(("north", "south")):
        places = tmp_path / "photos" / folder, tmp_path / "maps" / folder
        write_pair(*places, "a.b", label_map(k, (0, 2), 255), ".png", False)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    (tmp_path / "words.txt").write_text("lawn, grass\nsky\n# remark\ncart\n")
    (tmp_path / "fields.yaml").write_text(YAML)
    return tmp_path / "fields.yaml"


def test_nested_folders(fields, caplog):
    Image.new("RGB", (4, 4)).save(fields.parent / "photos" / "north" / "other.JPG")
    family = family_from_file(fields)
    records = family.load("val")
    assert [r["image_id"] for r in records] == ["north_a.b", "south_a.b"]
    assert "1 of 3 images have no label map" in caplog.text and "north/other" in caplog.text
    assert [(c.id, c.name, c.isthing) for c in family.categories] == [
        (0, "lawn", False),
        (1, "sky", False),
        (2, "cart", False),
    ]
    assert family.vocabulary.classes[0] == ("lawn", "grass") and family.semantic
    ids, segments = read_annotation(records[0])
    assert [s["category_id"] for s in segments] == [0, 2]  # no sky


def test_training_targets_are_classes(fields):
    """One target for each class of an image that is not deleted."""
    family = family_from_file(fields)
    record = family.load("val", ["cart"])[0]
    item = PanopticMapper([], training=True, merge_classes=True, ignore_uncovered=True)(record)
    drawn = label_map(0, (0, 2), 255)
    assert item["instances"].gt_classes.tolist() == [0]
    assert np.array_equal(item["instances"].gt_masks[0], drawn == 0) and np.array_equal(item["ignore"], drawn != 0)


def change(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


REFUSED = {
    "vocabulary: words.txt\n": ("", r"fields.yaml: 'vocabulary' is missing. Fix: list the classes in the order"),
    "labels: maps": ("labels: maps\npanoptic: png", "'panoptic' stands beside 'labels'.* Fix: remove one"),
    "images: photos": ("", "'images' is missing"),
    "splits: [val]": (
        "splits: {val: {images: photos}}",
        "'images' stands beside 'splits', but each split names its own",
    ),
    "name: fields": ("name: fields\nlayout: cityscapes", "the layout 'cityscapes' fixes it"),
    "splits: [val]\n": ("splits: [val]\nthings: [cart]\n", "'cart' is a thing, but label maps do not tell instances"),
    "name: fields\n": ("name: fields\nignore: 2\n", "the value 2 is the class 'cart', and is ignored. Fix: "),
    "name: fields\nimages": ("name: fields\nignore: -1\nimages", "'ignore'"),
    "labels: maps\n": ("labels: ../maps\n", "'../maps' leads out of the dataset's folder. Fix: set 'root'"),
    "words.txt": ("nowhere.txt", "'vocabulary': No vocabulary '.*nowhere.txt'"),
}


@pytest.mark.parametrize("old", REFUSED)
def test_files_that_are_refused(old, fields):
    new, told = REFUSED[old]
    fields.write_text(change(YAML, old, new))
    with pytest.raises(DatasetError, match=told):
        family_from_file(fields)


def test_label_maps_that_do_not_fit(fields):
    family, root = family_from_file(fields), fields.parent
    stray = label_map(0, (0, 2, 9), 255)
    Image.fromarray(stray.astype(np.uint8)).save(root / "maps" / "north" / "a.b.png")
    with pytest.raises(
        DatasetError, match=r"a.b.png: the value 9 is no class, and not ignored. Fix: .* under 'ignore'"
    ):
        read_annotation(family.load("val")[0])
    Image.fromarray(stray.astype(np.uint8)).save(root / "maps" / "alone.png")
    with pytest.raises(
        DatasetError, match="Split 'val': .*alone.png: there is no image of that name in .*photos. Fix: "
    ):
        family.load("val")
    (root / "maps" / "alone.png").unlink()
    Image.fromarray(stray.astype(np.uint8)).save(root / "photos" / "north" / "a.b.png")
    with pytest.raises(DatasetError, match="have the same name. Fix: rename one"):
        family.load("val")
    (root / "photos" / "north" / "a.b.png").unlink()
    (root / "maps").rename(root / "gone")
    with pytest.raises(
        DatasetError, match=f"There is no folder {re.escape(str(root / 'maps'))}. Fix: correct the file"
    ):
        family.load("val")
    (root / "maps").mkdir()
    with pytest.raises(DatasetError, match="There is no label map in"):
        family.load("val")
