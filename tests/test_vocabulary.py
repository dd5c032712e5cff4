"""Vocabularies: packaged ones, files, refusals."""

from __future__ import annotations

import os
from pathlib import Path

import open_clip
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.parity import recorded
from zsseg_d2 import Vocabulary
from zsseg_d2.vocabulary import PROMPT_TEMPLATES, _parse_text, packaged_vocabularies

NAMES = st.lists(
    st.lists(st.from_regex(r"[a-z]{1,8}( [a-z]{1,5})?", fullmatch=True), min_size=1, max_size=4),
    min_size=1,
    max_size=8,
    unique_by=lambda synonyms: synonyms[0],
)


def test_packaged_vocabularies_load():
    sizes = {name: len(Vocabulary.load(name)) for name in packaged_vocabularies()}
    assert sizes["cityscapes"] == 19 and sizes["coco_panoptic"] == 133 and "miniworld" in sizes


def test_packaged_words_are_fcclips():
    record = recorded("resnet").meta
    assert Vocabulary.load("coco_panoptic") == Vocabulary.from_strings(record["train_vocabulary"])
    assert Vocabulary.load("cityscapes") == Vocabulary.from_strings(record["test_vocabulary"])


def test_only_pole_and_rider_are_unseen_against_coco():
    cityscapes, coco = Vocabulary.load("cityscapes"), Vocabulary.load("coco_panoptic")
    assert [n for n, seen in zip(cityscapes.names, cityscapes.seen_in(coco)) if not seen] == ["pole", "rider"]


def test_fourteen_templates():
    assert len(PROMPT_TEMPLATES) == len(set(PROMPT_TEMPLATES)) == 14


@given(NAMES)
def test_text_and_yaml_files_hold_the_same(tmp_path_factory, classes):
    folder = tmp_path_factory.mktemp("words")
    expected = Vocabulary(tuple(map(tuple, classes)))
    (folder / "a.txt").write_text("# comment\n" + "\n".join(", ".join(c) for c in classes) + "\n\n")
    (folder / "b.txt").write_text(
        "0:invalid_class_id\n" + "\n".join(f"{i + 1}:{','.join(c)}" for i, c in enumerate(classes))
    )
    (folder / "c.yaml").write_text("\n".join(f'- "{", ".join(c)}"' for c in classes))
    (folder / "d.yaml").write_text("\n".join("- [" + ", ".join(f'"{s}"' for s in c) + "]" for c in classes))
    for name in ("a.txt", "c.yaml", "d.yaml"):
        assert Vocabulary.load(folder / name) == expected
    numbered = Vocabulary.load(folder / "b.txt")
    assert list(map(sorted, numbered.classes)) == list(map(sorted, expected.classes))
    if len({c[0].casefold() for c in classes}) == len(classes):
        assert numbered == expected


def test_classes_of_a_numbered_list_are_told_apart_and_lose_no_word(tmp_path):
    """Two classes are printed by "pot": the one with another word is printed by that. A word given twice stays."""
    (tmp_path / "list.txt").write_text("0:invalid_class_id\n1:pot,flowerpot,pot\n2:pot\n3:bag,bag\n4:Bag,purse\n")
    classes = Vocabulary.load(tmp_path / "list.txt").classes
    assert classes == (("flowerpot", "pot", "pot"), ("pot",), ("bag", "bag"), ("purse", "Bag"))


@given(NAMES)
def test_rows_and_subsets(classes):
    vocabulary = Vocabulary(tuple(map(tuple, classes)))
    assert len(vocabulary.rows) == sum(vocabulary.synonyms_per_class)
    assert vocabulary.subset(range(len(vocabulary))) == vocabulary
    assert all(vocabulary.seen_in(vocabulary))


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        str.capitalize,
        lambda w: w.replace(" ", "  "),
        lambda w: w.replace(" ", "\u00a0 "),
        lambda w: w.replace("e", "&#101;"),
    ],
    ids=["upper", "capitalized", "two spaces", "other spaces", "html"],
)
def test_what_the_tokenizer_does_not_tell_apart_decides_nothing(change):
    cityscapes, coco = Vocabulary.load("cityscapes"), Vocabulary.load("coco_panoptic")
    changed = Vocabulary(tuple(tuple(change(s) for s in synonyms) for synonyms in cityscapes.classes))
    assert tokenize(list(changed.rows)).equal(tokenize(list(cityscapes.rows)))
    unseen = [name for name, seen in zip(cityscapes.names, changed.seen_in(coco)) if not seen]
    assert unseen == ["pole", "rider"]
    assert [n for n, s in zip(cityscapes.names, cityscapes.seen_in(changed.subset([0, 11]))) if s] == ["road", "person"]


tokenize = open_clip.get_tokenizer("RN50")
WORDS = st.lists(
    st.sampled_from(["Car", "car", " ", "  ", "&amp;", "&", "\u00e9", "e\u0301", "3", "-", "'s"]), max_size=4
)


@settings(deadline=None)
@given(WORDS.map("".join), WORDS.map("".join))
def test_names_are_the_same_exactly_if_their_tokens_are(one, other):
    assume(all(w.strip() and w.isprintable() for w in (one, other)))
    same = tokenize([one]).equal(tokenize([other]))
    assert Vocabulary(((one,),)).seen_in(Vocabulary(((other,),))) == (same,)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("car # the usual ones\n# a comment\nC# book\n  #!\nbus", [("car",), ("C# book",), ("bus",)]),
        ("1:car\n 2 : 16:9 display, tv\n", [("car",), ("16:9 display", "tv")]),
        ("caf\u00e9, \u6c7d\u8f66\r\nbus\r\n", [("caf\u00e9", "\u6c7d\u8f66"), ("bus",)]),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_lines_of_text_files(tmp_path, content, expected, encoding):
    (tmp_path / "words.txt").write_bytes(content.encode(encoding))
    assert Vocabulary.load(tmp_path / "words.txt").classes == tuple(expected)
    assert Vocabulary.load(tmp_path / "words.txt").names[0] != "\ufeffcar"


def test_a_byte_order_mark_in_yaml(tmp_path):
    (tmp_path / "words.yaml").write_bytes("- car\n- [bus, coach]\n".encode("utf-8-sig"))
    assert Vocabulary.load(tmp_path / "words.yaml").classes == (("car",), ("bus", "coach"))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("name", ["words.txt", "words.yaml"])
def test_other_encodings_are_refused_with_file_and_remedy(tmp_path, encoding, name):
    (tmp_path / name).write_bytes("- caf\u00e9\n- bus\n".encode(encoding))
    with pytest.raises(ValueError, match=rf"{name}: .*(UTF-8|not valid YAML)") as error:
        Vocabulary.load(tmp_path / name)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("source", ["/dev/zero", "fifo", "folder", "large.txt"])
def test_sources_that_are_no_usable_file_end_in_one_sentence(tmp_path, source):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    with open(tmp_path / "large.txt", "wb") as file:
        file.truncate(2**30)
    with pytest.raises(ValueError, match=f"{source}: (is a (device|folder)|has 1,073,741,824 bytes)"):
        Vocabulary.load(tmp_path / source)


def test_a_number_before_some_lines_only_is_told():
    with pytest.raises(ValueError, match=r"'bus' has no number, but other lines start with one, as in '1:car'"):
        _parse_text("16:9 display\nbus\n", Path("words.txt"))


def test_semicolons_are_told(tmp_path, caplog):
    (tmp_path / "words.txt").write_text("car; cars\nbus\n")
    Vocabulary.load(tmp_path / "words.txt")
    assert "words.txt: a name contains ';'" in caplog.text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Vocabulary.from_strings("car"), "not one string"),
        (lambda: Vocabulary(("car", "bus")), "Class 0 of the vocabulary is text"),
        (lambda: Vocabulary.from_strings(["car", " , "]), "Class 1 of the vocabulary has an empty name"),
        (lambda: Vocabulary((("Car",), ("bus",), ("car",))), "twice: Car and car, which are the same to CLIP"),
        (lambda: Vocabulary((("traffic light",), ("traffic  light", "lamp"))), "the same to CLIP"),
        (lambda: Vocabulary((("a\x1b[2Jb",),)), r"control characters: 'a\\x1b\[2Jb'"),
    ],
)
def test_refused_vocabularies(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_no_content_of_the_file_is_echoed(tmp_path):
    nested = "- &a [secret, secret]\n" + "".join(
        f"- &{chr(97 + k)} [*{chr(96 + k)}, *{chr(96 + k)}]\n" for k in range(1, 25)
    )
    for content in (nested, "secret: [", "- {secret: 1}\n", "secret: 1", "- " + "[" * 3000):
        (tmp_path / "words.yaml").write_text(content)
        with pytest.raises(ValueError, match=r"words\.yaml: ") as error:
            Vocabulary.load(tmp_path / "words.yaml")
        assert "secret" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("car\ncar\n", "twice: car"),
        ("", "at least one class"),
        ("- yes\n- {a: b}\n", "neither a name nor a list"),
        ("car: vehicle\n", "expected a YAML list"),
        ("- [unclosed\n", "not valid YAML"),
        ("- !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_bad_files_name_the_file(tmp_path, content, message):
    path = tmp_path / ("words.txt" if content in ("", "car\ncar\n") else "words.yaml")
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        Vocabulary.load(path)
    assert path.name in str(error.value)


def test_missing_file_lists_the_packaged_ones():
    with pytest.raises(FileNotFoundError, match="cityscapes"):
        Vocabulary.load("no_such_words")


LONG = "the tall person who stands " * 14  # 70 tokens


def test_names_whose_difference_clip_does_not_read_are_refused():
    for one, other in (("red car", "blue car"), ("on the left of a red car", "on the left of a blue car")):
        cut = all(tokenize([t.format(LONG + one)]).equal(tokenize([t.format(LONG + other)])) for t in PROMPT_TEMPLATES)
        vocabulary = Vocabulary(((LONG + one,), ("bus",), (LONG + other,)))
        if not cut:
            vocabulary.check_distinct()
            continue
        with pytest.raises(ValueError, match="blue car' are the same to CLIP, which reads 75 tokens"):
            vocabulary.check_distinct()
    assert cut


def test_names_that_only_html_tells_apart_are_refused():
    with pytest.raises(ValueError, match="'R&amp;D' and 'R&D' are the same to CLIP"):
        Vocabulary((("R&amp;D",), ("R&D",))).check_distinct()
