"""Which class a name or a number means: in the deleted classes, on the command line, in OUT_CLASSES."""

from __future__ import annotations

import re

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given
from hypothesis import strategies as st

from zsseg_d2 import Vocabulary
from zsseg_d2.class_names import find_class
from zsseg_d2.class_sets import ClassSets
from zsseg_d2.data import DatasetError, PanopticCategory, register_coco_panoptic, resolve_classes
from zsseg_d2.data.panoptic.cityscapes import CATEGORIES

STREET = (
    "traffic_light",
    "object--street-light",
    "Car",
    "car",
    "Person",
    "3",
    "wall (brick)",
    "door, double door",
    "café",
    "motor cycle",
)


def categories(*names: str, ids: tuple[int, ...] | None = None) -> list[PanopticCategory]:
    return [PanopticCategory(i, name, True, (0, 0, i)) for i, name in zip(ids or range(1, 99), names)]


@pytest.mark.parametrize("name", STREET)
@pytest.mark.parametrize("given", [lambda n: n, lambda n: (n,)], ids=["alone", "in a list"])
def test_the_exact_name_of_a_file_always_works(name, given):
    assert resolve_classes(given(name), categories(*STREET), configurations={}) == (STREET.index(name) + 1,)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (3, 3),
        ("3", 6),
        ("traffic light", 1),
        ("TRAFFIC  LIGHT", 1),
        ("person ", 5),
        ("cafe\u0301", 9),
        ("7", 7),
        (6, 6),
    ],
)
def test_numbers_are_ids_and_names_are_folded_where_one_class_is_meant(item, expected):
    assert resolve_classes([item], categories(*STREET)) == (expected,)


@pytest.mark.parametrize("item", ["CAR", "c ar", "bus", 99, True, 3.0, "", None, b"car"])
def test_what_means_no_class_or_several_is_refused(item):
    with pytest.raises(DatasetError, match="can be several classes: 3 Car, 4 car" if item == "CAR" else "no class"):
        resolve_classes([item], categories(*STREET))


def test_classes_that_are_called_by_digits():
    digits = categories("0", "1", "2", "3", "4")
    assert resolve_classes((3,), digits) == (3,) and resolve_classes(3, digits) == (3,)
    assert resolve_classes(("3",), digits) == (4,) and resolve_classes("3", digits) == (4,)
    assert resolve_classes(("5",), digits) == (5,)  # no class has this name
    assert resolve_classes([np.int64(2)], digits) == (2,)
    assert resolve_classes([3, "3"], digits, train_ids=True) == (4,)


def test_one_string_is_one_class_and_never_its_characters():
    bolts = categories("bolt", "nut", "washer", "gear", ids=(1, 2, 3, 12))
    assert resolve_classes("12", bolts, configurations={}) == (12,)
    assert resolve_classes("gear", bolts, configurations={}) == (12,)
    with pytest.raises(DatasetError, match=r"^There is no class '21'\. Fix: choose by name or label id: 1 bolt"):
        resolve_classes("21", bolts, configurations={})


def test_a_configuration_that_has_the_name_of_another_class():
    chosen = {"nut": (1, 2), "washer": (3,)}
    bolts = categories("bolt", "nut", "washer")
    assert resolve_classes("washer", bolts, configurations=chosen) == (3,)
    assert resolve_classes(["nut"], bolts, configurations=chosen) == (2,)
    with pytest.raises(DatasetError, match="'nut' is a configuration that deletes other classes"):
        resolve_classes("nut", bolts, configurations=chosen)
    with pytest.raises(DatasetError, match=r"no configuration '009'; choose one of 000, .* There is no class '009'"):
        resolve_classes("009", CATEGORIES)


@given(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=6, unique=True), st.data())
def test_an_exact_name_wins_whatever_the_others_are(names, data):
    k = data.draw(st.integers(0, len(names) - 1))
    ids = data.draw(st.lists(st.integers(0, 20), min_size=len(names), max_size=len(names), unique=True))
    wrapped = [[name] for name in names]
    assert find_class(names[k], wrapped, ids) == k
    assert find_class(ids[k], wrapped, ids) == k


@pytest.fixture
def own_set(tmp_path):
    """A registered dataset whose files call the classes otherwise than the vocabulary."""
    found = categories("Car", "car", "3", "street-light", "4")
    words = Vocabulary((("automobile",), ("model car",), ("three",), ("lamp", "light"), ("four",)))
    register_coco_panoptic("own_names", tmp_path, tmp_path, tmp_path / "a.json", categories=found, vocabulary=words)
    yield "own_names"
    DatasetCatalog.remove("own_names")
    MetadataCatalog.remove("own_names")


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        ([3], (2,)),
        (["3"], (2,)),
        ([4], (3,)),
        (["4"], (4,)),
        (["Car"], (0,)),
        ("car", (1,)),
        (["Lamp", "model_car"], (1, 3)),
        (["none"], ()),
    ],
)
def test_out_classes_by_either_name_or_label_id(own_set, out, expected):
    classes = ClassSets(test=[own_set], num_classes=133, out_classes=out)
    assert classes.evaluation().out == expected


@pytest.mark.parametrize(("out", "message"), [(["CAR"], "several classes: 1 automobile, 2 model"), ([0], "no class 0")])
def test_out_classes_that_are_unclear(own_set, out, message):
    with pytest.raises(ValueError, match=re.escape(f"ZSSEG.OUT_CLASSES={out}, 'own_names': ") + f".*{message}"):
        ClassSets(test=[own_set], num_classes=133, out_classes=out).evaluation()


def test_names_in_other_letters_are_still_put_into_the_order_of_the_dataset(tmp_path):
    names = list(Vocabulary.load("cityscapes").names)
    file = tmp_path / "reversed.txt"
    file.write_text("\n".join(f"{name.upper()}, {name} in a street" for name in reversed(names)))
    given = ClassSets(test=["minicity_panoptic_val"], num_classes=133, vocabulary=str(file)).evaluation().vocabulary
    assert given.names == tuple(name.upper() for name in names)
    file.write_text("\n".join(["Sky", "way", *(n for n in names[1:] if n != "sky")]))
    with pytest.raises(ValueError, match="'Sky' is class 0, but class 10 of the dataset"):
        ClassSets(test=["minicity_panoptic_val"], num_classes=133, vocabulary=str(file)).evaluation()
