"""JSON files of a folder of phrases that are not what they should be: one sentence that names the file."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zsseg_d2.data import DatasetError, load_phrasecut
from zsseg_d2.data.phrasecut import json_stream
from zsseg_d2.data.phrasecut.check import OFFICIAL_COUNTS, _expected_counts
from zsseg_d2.data.phrasecut.folder import load_image_table, load_word_counts
from zsseg_d2.data.phrasecut.json_stream import iterate_json_list

from .tiny_phrasecut import make_tiny_phrasecut, task

FILES = ("refer_val.json", "image_data_split.json", "skip.json", "name_att_rel_count.json")


def read(root):
    load_phrasecut(root, "val")
    load_word_counts(root)


@pytest.fixture
def root(tmp_path):
    folder = make_tiny_phrasecut(tmp_path, skip=[], val=[task()])
    read(folder)
    return folder


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["fifo", "zero", "folder", "bomb", "utf-16", "cut off"])
def test_every_file_ends_in_one_sentence(root, name, kind):
    path = root / name
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "bomb":
        with open(path, "wb") as file:
            file.truncate(3 * 2**30)
    else:
        path.write_bytes("[secret, NaN]".encode("utf-16") if kind == "utf-16" else b"[3")
    with pytest.raises(DatasetError, match=name) as error:
        read(root)
    assert str(error.value).isprintable() and "secret" not in str(error.value)


def test_a_wrong_image_is_named_by_its_place_and_not_quoted(root):
    table = json.loads((root / "image_data_split.json").read_text())
    table[0]["height"] = "secret"
    (root / "image_data_split.json").write_text(json.dumps(table))
    with pytest.raises(DatasetError, match=r"image_data_split.json: '\[0\].height' is of the wrong type") as error:
        load_image_table(root)
    assert "secret" not in str(error.value)


def test_an_entry_of_any_size_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "ENTRY_LIMIT", 1000)
    monkeypatch.setattr(json_stream, "PIECE", 64)
    path = tmp_path / "refer.json"
    path.write_text(json.dumps([{"a": 1}, "x" * 900, {"b": [2]}]))
    assert [type(entry) for entry in iterate_json_list(path, "r")] == [dict, str, dict]
    path.write_text(json.dumps([1, "x" * 5000]))
    with pytest.raises(DatasetError, match=r"damaged after entry 1 \(an entry has more than 1,000 characters\)"):
        list(iterate_json_list(path, "r"))


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf[{"a": 1}, 2]')
    assert list(iterate_json_list(tmp_path / "a.json", "r")) == [{"a": 1}, 2]


VALUES = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["cat", "att", "rel", "x"]), inner),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_word_counts_of_any_structure(tmp_path_factory, value):
    root = tmp_path_factory.mktemp("words")
    (root / "name_att_rel_count.json").write_text(json.dumps(value))
    try:
        found = load_word_counts(root)
    except DatasetError as error:
        assert "name_att_rel_count.json" in str(error)
    else:
        assert all(type(n) is int for words in found.values() for n in words.values())


@pytest.mark.parametrize("content", ['{"splits": {"val": 3}}', '{"splits": []}', "{", '{"splits": {"val": {}}}'])
def test_a_manifest_of_another_structure_gives_the_official_counts(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    assert _expected_counts(tmp_path) == OFFICIAL_COUNTS
