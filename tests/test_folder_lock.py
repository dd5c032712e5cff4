"""One writer a folder, tried with real processes."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import subprocess
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.holders import holding
from zsseg_d2 import folder_lock
from zsseg_d2.files import atomic_path
from zsseg_d2.folder_lock import LOCK, FolderInUse, replacing, writing


@pytest.fixture
def holder(tmp_path):
    @contextlib.contextmanager
    def locked_and_open():
        with writing(tmp_path, "train_net.py"), atomic_path(tmp_path / "model.pth") as part:
            yield part

    with holding(locked_and_open) as process:
        yield process


def test_the_second_writer_is_told_who_writes(tmp_path, holder):
    told = rf"train_net.py \(process {holder.pid}\) is writing here. Fix: wait"
    with pytest.raises(FolderInUse, match=told), writing(tmp_path, "segment.py"):
        raise AssertionError("two writers")
    assert len(list(tmp_path.glob(".*.part"))) == 1, "its file is still being written"


def test_a_killed_writer_leaves_neither_lock_nor_orphan(tmp_path, holder):
    (tmp_path / ".download.part").write_text("of a browser")
    holder.kill()
    holder.join()
    with writing(tmp_path, "segment.py"):
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([".download.part", LOCK])


def test_a_folder_with_a_writer_of_its_own_is_left_alone(tmp_path, holder):
    inner = tmp_path / "runs" / "a"
    with writing(inner, "train_net.py"), atomic_path(inner / "model.pth"):
        (inner.parent / ".zsseg_d2-x.part").write_text("orphan")
        holder.kill()
        holder.join()
        with writing(tmp_path, "run_suite.py"):
            assert len(list(inner.glob(".*.part"))) == 1
            assert not list(inner.parent.glob(".*.part"))


def test_waiting_ends_when_the_other_ends(tmp_path, holder, capfd):
    started = time.monotonic()
    killer = subprocess.Popen(["sh", "-c", f"sleep 1; kill -9 {holder.pid}"])
    with writing(tmp_path, "delete_classes.py", wait=True):
        assert time.monotonic() - started > 0.5
    killer.wait()
    assert "waiting for it" in capfd.readouterr().err


def test_who_would_replace_a_folder_is_told_and_waits(tmp_path, monkeypatch):
    folder, made = tmp_path / "set", threading.Event()
    said = io.StringIO()  # capfd loses what another thread writes while it reads
    monkeypatch.setattr("sys.stderr", said)

    @contextlib.contextmanager
    def at_work():
        with replacing(folder, "make-minicity"):
            yield tmp_path / "half"

    def second() -> None:
        with replacing(folder, "train"):
            made.set()

    with holding(at_work) as process:
        thread = threading.Thread(target=second)
        thread.start()
        deadline = time.monotonic() + 60
        while not said.getvalue().endswith("\n") and time.monotonic() < deadline:
            time.sleep(0.01)
        told = f"{folder}: make-minicity (process {process.pid}) is writing here; waiting for it.\n"
        assert said.getvalue() == told
        assert not made.is_set()
    thread.join(60)
    assert made.is_set()


def try_to_write(folder: Path, told: Connection) -> None:
    folder_lock._held.clear()  # a fork belongs to the writer; another program does not
    try:
        with writing(folder, "b"):
            told.send("wrote")
    except FolderInUse:
        told.send("refused")


def test_calls_nest_within_a_process(tmp_path):
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    for expected in ("refused", "wrote"):
        with contextlib.ExitStack() as stack:
            if expected == "refused":
                stack.enter_context(writing(tmp_path, "a"))
                with writing(tmp_path / ".." / tmp_path.name, "a"):
                    pass
            other = context.Process(target=try_to_write, args=(tmp_path, there))
            other.start()
            assert here.recv() == expected
            other.join()
