"""Words of the user: from text, files, packaged lists and Python, with synonyms and marks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsseg_d2 import Vocabulary
from zsseg_d2.class_sets import EvalClasses
from zsseg_d2.engine import ConfigError
from zsseg_d2.engine.prediction.words import parse_words


def things(words) -> list[str]:
    found = parse_words(words)
    return [found.vocabulary.names[k] for k in sorted(found.things)]


@pytest.mark.parametrize(
    "words",
    [
        "road, car|cars|automobile,sky",
        " road ,car | cars|automobile, sky,",
        ["road", "car|cars|automobile", "sky"],
        ["road", "car, cars, automobile", "sky"],
        [("road",), ("car", "cars", "automobile"), ["sky"]],
        Vocabulary((("road",), ("car", "cars", "automobile"), ("sky",))),
    ],
)
def test_every_form_means_the_same(words):
    found = parse_words(words)
    assert found.vocabulary.classes == (("road",), ("car", "cars", "automobile"), ("sky",))
    assert found.things == {1}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w.txt", "# my words\nroad\ncar, cars | automobile\nsky (stuff)\n"),
        ("w.yaml", "- road\n- [car, cars, automobile]\n- sky (stuff)\n"),
        ("w.yml", "- road\n- car|cars|automobile\n- sky\n"),
    ],
)
def test_files(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    for words in (str(tmp_path / name), tmp_path / name):
        found = parse_words(words)
        assert found.vocabulary.classes == (("road",), ("car", "cars", "automobile"), ("sky",)) and found.things == {1}


def test_a_list_may_be_longer_than_the_name_of_a_file():
    names = [f"word {k}" for k in range(2000)]
    assert parse_words(", ".join(names)).vocabulary.names == tuple(names)
    assert parse_words("x" * 300).vocabulary.names == ("x" * 300,)


def test_packaged_lists():
    assert len(parse_words("cityscapes").vocabulary) == 19 and len(parse_words("cityscapes").things) == 8
    assert len(parse_words("coco").vocabulary) == 133 and len(parse_words("coco").things) == 80
    assert parse_words("coco_panoptic") == parse_words("coco")
    assert len(parse_words("ade20k").vocabulary) == 150


def test_things_are_what_is_marked_then_known_then_things():
    assert things("road, Car, water slide, sky (thing), dog (stuff), grass") == ["Car", "water slide", "sky"]
    assert things("vehicle|car, blob|sky, zebra (Thing)|horse") == ["vehicle", "zebra"], "the first known synonym"


def test_the_test_set_comes_before_packaged_datasets():
    tested = EvalClasses(Vocabulary((("car",), ("gadget", "sky"))), frozenset({1}), (True, True))
    found = parse_words("car, gadget, person", tested)
    assert found.things == {1, 2}
    assert parse_words("sky", tested).things == frozenset(), "a name of COCO before a synonym of the test set"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "there are no words. Fix: name what to look for"),
        (" , ", "there are no words"),
        ([], "there are no words"),
        (["car", ""], "Class 1 of the vocabulary has an empty name"),
        ("car, sky, Car", "names a class twice: car and Car"),
        ("car (thing)|cars (stuff)", "'car' is marked both"),
        ("car (thing) (stuff)", "'car' is marked both"),
        ("car(stuff)(thing)", "'car' is marked both"),
        ("car (thing), car (stuff)", "names a class twice: car"),
        ("no/such/file.txt", "neither a file nor one of"),
        (["car", 3], "entry 1 is neither text nor a list"),
        (["car", ["sky", 3]], "entry 1 is neither text nor a list"),
        ("car\x1b[2K", "control characters"),
    ],
)
def test_mistakes_are_told_in_one_sentence(words, told):
    with pytest.raises(ConfigError) as caught:
        parse_words(words)
    assert told in str(caught.value) and "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "words.yaml").write_text("car: [")
    with pytest.raises(ConfigError, match=r"words.yaml: is not valid YAML"):
        parse_words(str(tmp_path / "words.yaml"))


@pytest.mark.parametrize(
    ("content", "told"),
    [("car (thing) | cars (stuff)", "'car' is marked both"), ("Car | bus\ncar", "names a class twice: Car and car")],
)
def test_a_mistake_in_the_words_of_a_file_names_the_file(tmp_path, content, told):
    path = tmp_path / ("folder of words " * 6) / "mine.txt"
    path.parent.mkdir()
    path.write_text(content)
    for words in (path, str(path)):
        with pytest.raises(ConfigError) as caught:
            parse_words(words)
        assert str(caught.value).startswith(f"words={str(path)!r}: ") and told in str(caught.value)


NAME = st.text(st.characters(categories=("L", "N"), exclude_characters=""), min_size=1, max_size=8)


@given(st.lists(st.tuples(NAME, st.sampled_from(["", " (thing)", " (stuff)"])), min_size=1, max_size=8))
def test_any_letters_and_marks_come_back(entries):
    """Also words that are not ASCII."""
    by_name = {" ".join(name.casefold().split()): (name, mark) for name, mark in entries}
    entries = list(by_name.values())
    text = ",".join(name + mark for name, mark in entries)
    if text in ("ade20k", "coco", "cityscapes", "miniworld"):
        return
    found = parse_words(text)
    assert found.vocabulary.names == tuple(name for name, _ in entries)
    for k, (_, mark) in enumerate(entries):
        assert not mark or (k in found.things) == ("thing" in mark)
