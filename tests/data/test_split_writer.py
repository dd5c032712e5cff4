"""Folders of written datasets: one writer at a time, and manifests and journals that are not what they should be."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contents import snapshot
from zsseg_d2.cli import delete_classes as tool
from zsseg_d2.data import DatasetError, load_cityscapes_panoptic
from zsseg_d2.data.class_deletion import label_maps
from zsseg_d2.data.panoptic.split_writer import ResumableSplitWriter, read_manifest
from zsseg_d2.folder_lock import writing

from .tiny_cityscapes import make_tiny_cityscapes

FORK = multiprocessing.get_context("fork")
JOURNAL = ".delete_classes_train.jsonl"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_tiny_cityscapes(tmp_path_factory.mktemp("source") / "cityscapes", images=6)


def run(root: Path, output: Path, configuration: str, *rest: str, delay: float = 0) -> int:
    time.sleep(delay)
    words = ["--root", str(root), "--output", str(output), "--num-workers", "1", "--configuration", configuration]
    try:
        return tool.main([*words, *rest])
    except SystemExit as stop:
        print(stop.code, file=sys.stderr)
        return 1 if isinstance(stop.code, str) else int(stop.code or 0)


def exit_with(*arguments, **options) -> None:
    os._exit(run(*arguments, **options))


@pytest.mark.parametrize("delay", [0, 0.005, 0.01, 0.02, 0.04, 0.08])
def test_two_at_once_never_mix_their_files(root, tmp_path, delay):
    chosen = {"001": 0.0, "008": delay}
    for name in chosen:
        assert run(root, tmp_path / name, name) == 0
    both = [
        FORK.Process(target=exit_with, args=(root, tmp_path / "out", name), kwargs={"delay": seconds})
        for name, seconds in chosen.items()
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    codes = [process.exitcode for process in both]
    assert sorted(codes) == [0, 1]
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / list(chosen)[codes.index(0)])


def die(_task) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_one_sentence_and_the_same_command_goes_on(root, tmp_path, monkeypatch, capfd):
    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(label_maps, "_write_image", die)
        assert run(root, output, "008", "--num-workers", "2") == 1
    captured = capfd.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    told = (
        r"error: A worker process \(pid \d+\), which wrote labels, was killed, most likely because .* Fix: .*--num-wor"
    )
    assert re.match(told, line) and "Traceback" not in captured.err + captured.out
    assert run(root, output, "008", "--num-workers", "2") == 0
    assert run(root, tmp_path / "through", "008") == 0 and snapshot(output) == snapshot(tmp_path / "through")


def hold(folder: Path, ready, stop) -> None:
    with writing(folder, "some program"):
        ready.set()
        stop.wait(60)


def test_who_comes_second_is_told_in_one_sentence(root, tmp_path, capsys):
    output, ready, stop = tmp_path / "out", FORK.Event(), FORK.Event()
    holder = FORK.Process(target=hold, args=(output, ready, stop))
    holder.start()
    try:
        assert ready.wait(60)
        assert run(root, output, "008") == 1
    finally:
        stop.set()
        holder.join(60)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {output}: some program (process {holder.pid}) is writing here. Fix: ")
    assert run(root, output, "008") == 0


def test_half_written_files_of_a_killed_run_are_removed(root, tmp_path):
    output = tmp_path / "out"
    orphan = output / "gtFine" / "train" / "aachen" / ".zsseg_d2-x.part"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"half")
    (output / JOURNAL).write_text('["half a li')
    assert run(root, output, "008") == 1  # nothing says that the folder is ours
    (output / JOURNAL).write_text(json.dumps({"an earlier": "run"}) + "\n")
    assert run(root, output, "008", "--overwrite") == 0
    assert not orphan.exists()


MANIFESTS = (
    "[]",
    "{",
    '{"splits": []}',
    '{"splits": {"train": 1}}',
    '{"splits": {"val": null}}',
    '{"splits": {"train": {"arguments": NaN}}}',
    "[" * 5000,
)


@pytest.mark.parametrize("content", MANIFESTS)
def test_a_damaged_manifest_is_told(root, tmp_path, content, capsys):
    output = tmp_path / "out"
    assert run(root, output, "001") == 0
    (output / "manifest.json").write_text(content)
    before = snapshot(output)
    capsys.readouterr()
    for words in ((), ("--overwrite",)):
        assert run(root, output, "001", *words) == 1
        error = capsys.readouterr().err
        assert "manifest.json: " in error and "Fix: move " in error and len(error.splitlines()) == 1
    assert snapshot(output) == before


@pytest.mark.parametrize("entry", [{"images": 3}, {"arguments": []}, {"arguments": {}, "written_by": "other"}])
def test_a_split_that_another_program_describes_is_not_replaced(root, tmp_path, entry, capsys):
    output = tmp_path / "out"
    assert run(root, output, "001") == 0
    (output / "manifest.json").write_text(json.dumps({"splits": {"train": entry}}))
    before = snapshot(output)
    assert run(root, output, "001", "--overwrite") == 1
    assert "was not made by this tool" in capsys.readouterr().err
    assert snapshot(output) == before


JOURNALS = (
    "[]",
    '["aachen_000000_000019", 3]',
    '["aachen_000000_000019", [[24, 1]]]',
    '["aachen_000000_000019", [["24", 1, 1]]]',
    '["aachen_000000_000019", [[99, 1, 1]]]',
    '["aachen_000000_000019"]',
    "{}",
    "nonsense",
    "\0\0\0",
)


@pytest.mark.parametrize("line", JOURNALS)
def test_a_damaged_journal_is_told(root, tmp_path, line, capsys, monkeypatch):
    output = tmp_path / "out"
    monkeypatch.setattr(
        "zsseg_d2.data.class_deletion.export._finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    assert run(root, output, "001") == 130
    monkeypatch.undo()
    journal = output / JOURNAL
    journal.write_text(journal.read_text() + line + "\n")
    capsys.readouterr()
    assert run(root, output, "001") == 1
    error = capsys.readouterr().err
    assert JOURNAL in error and "--overwrite" in error and len(error.splitlines()) == 1
    assert run(root, output, "001", "--overwrite") == 0
    assert len(load_cityscapes_panoptic(output, "train")) == 6


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["splits", "tool"]), VALUES | st.dictionaries(st.just("train"), VALUES)), VALUES)
def test_no_manifest_or_journal_ends_in_a_traceback(tmp_path_factory, manifest, line):
    folder = tmp_path_factory.mktemp("any")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / ".tool_train.jsonl").write_text(f'{{"a": 1}}\n{json.dumps(line)}\n')
    writer = ResumableSplitWriter(folder, [folder / "x.json"], split="train", tool="tool", note=list[int])
    try:
        read_manifest(folder)
        writer.open({"a": 1}, lambda: False, False)
    except DatasetError as error:
        assert "json" in str(error) and str(error).isprintable()


@pytest.mark.parametrize("name", ["manifest.json", JOURNAL, "gtFine/cityscapes_panoptic_train.json"])
def test_pipes_do_not_hang(root, tmp_path, name, capsys):
    output = tmp_path / "out"
    assert run(root, output, "001") == 0
    (output / name).unlink(missing_ok=True)
    os.mkfifo(output / name)
    if name.endswith("train.json"):  # the copy is incomplete, and is written again
        assert run(root, output, "001") == 0
    else:
        assert run(root, output, "001") == 1
        assert "is a device or a pipe" in capsys.readouterr().err
