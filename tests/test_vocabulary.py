"""Vocabularies: packaged ones, files, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.parity import recorded
from zsseg_d2 import Vocabulary
from zsseg_d2.vocabulary import PROMPT_TEMPLATES, packaged_vocabularies

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
    for name in ("a.txt", "b.txt", "c.yaml", "d.yaml"):
        assert Vocabulary.load(folder / name) == expected


@given(NAMES)
def test_rows_and_subsets(classes):
    vocabulary = Vocabulary(tuple(map(tuple, classes)))
    assert len(vocabulary.rows) == sum(vocabulary.synonyms_per_class)
    assert vocabulary.subset(range(len(vocabulary))) == vocabulary
    assert all(vocabulary.seen_in(vocabulary))


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
