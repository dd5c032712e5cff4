"""Atomic writing without a lock on the folder: what killed writers leave, and what others still write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.holders import holding
from zsseg_d2 import files
from zsseg_d2.files import atomic_path, remove_orphans
from zsseg_d2.folder_lock import LOCK, writing


@pytest.fixture
def holder(tmp_path):
    with holding(lambda: atomic_path(tmp_path / "weights.pth")) as process:
        yield process


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path) -> None:
    """Write a file as another program does, which has written nothing before."""
    files._swept.clear()
    with atomic_path(path) as part:
        part.write_text("new")


def test_what_another_process_writes_stays_until_it_is_killed(tmp_path, holder):
    (half,) = names(tmp_path)
    (tmp_path / ".download.part").write_text("of a browser")
    write(tmp_path / "a.txt")
    with writing(tmp_path, "train_net.py"):
        assert names(tmp_path) == sorted([".download.part", LOCK, half, "a.txt"])
    holder.kill()
    holder.join()
    write(tmp_path / "b.txt")
    assert names(tmp_path) == sorted([".download.part", LOCK, "a.txt", "b.txt"])
    assert (tmp_path / "b.txt").read_text() == "new"


def test_links_cannot_be_locked_and_are_removed_by_the_only_writer(tmp_path):
    target = tmp_path / "image.png"
    target.write_text("image")
    (tmp_path / ".zsseg_d2-x.part").symlink_to(target)
    remove_orphans(tmp_path)
    assert names(tmp_path) == [".zsseg_d2-x.part", "image.png"]
    remove_orphans(tmp_path, alone=True)
    assert names(tmp_path) == ["image.png"] and target.read_text() == "image"


def test_without_locks_only_the_only_writer_removes(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_lock", lambda file: None)
    (tmp_path / ".zsseg_d2-x.part").write_text("half")
    with atomic_path(tmp_path / "a.txt") as part:
        part.write_text("new")
    assert names(tmp_path) == [".zsseg_d2-x.part", "a.txt"]
    remove_orphans(tmp_path, alone=True)
    assert names(tmp_path) == ["a.txt"]


def test_a_file_that_was_taken_for_an_orphan_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    lock, made = files._lock, []

    def late(file):
        if len(made) < 2:
            made.append(os.readlink(f"/proc/self/fd/{file.fileno()}"))
            os.unlink(made[-1])
            return (True, False)[len(made) - 1]
        return lock(file)

    monkeypatch.setattr(files, "_lock", late)
    with atomic_path(tmp_path / "a.txt") as part:
        assert str(part) not in made and len(made) == 2
        part.write_text("new")
    assert names(tmp_path) == ["a.txt"]


def test_an_error_removes_the_file_and_its_lock(tmp_path):
    opened = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(KeyError), atomic_path(tmp_path / "a.txt"):
            raise KeyError
    assert names(tmp_path) == [] and len(os.listdir("/proc/self/fd")) == opened
