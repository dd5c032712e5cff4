"""Reading files that may be anything, against the operating system's own devices, pipes and limits."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsseg_d2.reading import UnusableFile, open_regular, printable, read_bytes, read_json, read_lines, read_text


class Point(msgspec.Struct):
    x: int
    names: list[str] = []


def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    signal.alarm(20)  # which ends the process, should opening wait for a writer
    with pytest.raises(UnusableFile, match="not a regular file"):
        read_bytes(tmp_path / "pipe", 10)
    signal.alarm(0)


@pytest.mark.parametrize(
    "path, problem",
    [("/dev/zero", "not a regular file"), ("/", "is a folder"), ("a\0b", "cannot be opened")],
)
def test_what_is_no_file_is_refused(path, problem):
    with pytest.raises(UnusableFile, match=problem):
        read_bytes(path, 10)


def test_the_limit_is_compared_before_reading(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a", 5) == b"12345"
    with pytest.raises(UnusableFile, match="a: has 5 bytes, and at most 4 are read"):
        read_bytes(tmp_path / "a", 4)
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(2**40)  # reading it would need a terabyte
    with pytest.raises(UnusableFile, match="1,099,511,627,776 bytes"):
        read_json(tmp_path / "sparse")


def test_a_file_of_any_size_is_read_line_by_line(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345\n\n123\ncut o")
    assert list(read_lines(path, 5)) == [b"12345", b"", b"123"]
    with pytest.raises(UnusableFile, match="a: line 1 has more than 4 bytes. Fix: make it again."):
        list(read_lines(path, 4, remedy="make it again"))
    path.write_bytes(b"123\n123456")
    lines = read_lines(path, 5)
    assert next(lines) == b"123"
    with pytest.raises(UnusableFile, match="line 2 has more than 5 bytes."):
        next(lines)
    with open(path, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(UnusableFile, match="line 1 has"):
        list(read_lines(path, 100))


def test_links_to_files_are_followed_and_missing_files_are_told_apart(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "dead").symlink_to("nothing")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"x"
    for name in ("dead", "none"):
        with pytest.raises(FileNotFoundError):
            read_bytes(tmp_path / name, 10)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_text_is_utf8_with_or_without_a_mark(tmp_path, start):
    (tmp_path / "a").write_bytes(start + "Straße".encode())
    assert read_text(tmp_path / "a") == "Straße"


def test_other_encodings_name_file_and_byte(tmp_path):
    (tmp_path / "a.txt").write_bytes("Straße".encode("latin-1"))
    with pytest.raises(UnusableFile, match=r"a\.txt: is not UTF-8 text \(byte 4 is 0xdf\)\. Fix: save it as UTF-8"):
        read_text(tmp_path / "a.txt")


@pytest.mark.parametrize(
    "content, problem",
    [
        ('{"x": "1"}', r"'x' is of the wrong type \(expected int, got str\)"),
        ('{"names": []}', "'x' is missing"),
        ('{"x": 1, "names": ["a", 2]}', r"'names\[1\]' is of the wrong type"),
        ("[]", "'the file' is of the wrong type"),
        ("{", "is not valid JSON"),
        ('{"x": NaN}', "is not valid JSON"),
    ],
)
def test_wrong_structure_names_the_place(tmp_path, content, problem):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UnusableFile, match=r"a\.json: .*" + f"(?:{problem})"):
        read_json(tmp_path / "a.json", Point, remedy="make it again")


def test_deep_nesting_ends_in_a_sentence(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(UnusableFile, match=r"a\.json: is nested too deeply"):
        read_json(tmp_path / "a.json")


def test_the_remedy_is_told(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(UnusableFile, match="'x' is missing. Fix: run it again.$"):
        read_json(tmp_path / "a.json", Point, remedy="run it again")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=10,
)  # fmt: skip


@given(content=PLAIN)
def test_untyped_json_is_what_the_standard_library_reads(tmp_path_factory, content: Any):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(content))
    assert read_json(path) == json.loads(path.read_text())


@given(text=st.text())
def test_printable_text_moves_no_cursor(text):
    shown = printable(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text
