"""One writer a folder: a second program that would write the same folder is told who writes there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import portalocker

from .files import remove_orphans
from .reading import UnusableFile, printable, read_text

LOCK = ".zsseg_d2.lock"

_held: dict[Path, int] = {}  # folder -> depth; processes that are forked while it is held belong to the writer


class FolderInUse(RuntimeError):
    """Another process writes the folder; the message names the process and the remedy."""


@contextmanager
def writing(folder: str | os.PathLike, program: str, *, wait: bool = False) -> Iterator[None]:
    """Make this process the only writer of a folder, and remove what killed writers left half-written.

    The lock ends with the process, however it ends. Within a process, nested calls for one folder are allowed.

    Args:
        folder: created if it is missing.
        program: what writes, for the message that another program gives.
        wait: wait for the other writer instead of raising.

    Raises:
        FolderInUse: another process writes the folder.
        OSError: the folder cannot be created or written to.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    key = folder.resolve()
    if key in _held:
        _held[key] += 1
        try:
            yield
        finally:
            _held[key] -= 1
        return
    with _locked(folder / LOCK, folder, program, wait):
        _held[key] = 1
        try:
            _remove_orphans(folder)
            yield
        finally:
            del _held[key]


@contextmanager
def replacing(folder: str | os.PathLike, program: str) -> Iterator[None]:
    """Let one process or thread after the other replace a whole folder; the lock lies beside it.

    Args:
        folder: may be missing; the folder around it may not.
        program: see :func:`writing`.
    """
    folder = Path(folder)
    with _locked(folder.with_name(f".{folder.name}.lock"), folder, program, wait=True):
        yield


@contextmanager
def _locked(path: Path, folder: Path, program: str, wait: bool) -> Iterator[None]:
    with open(path, "a+", encoding="utf-8") as lock:
        _acquire(lock, path, folder, wait)
        lock.truncate(0)
        lock.write(f"{program} (process {os.getpid()})\n")
        lock.flush()
        try:
            yield
        finally:
            # Closing alone would leave the lock to forked processes that are still running.
            with suppress(OSError):
                lock.truncate(0)  # the same command writes the same files
                portalocker.unlock(lock)


def _acquire(lock: IO[str], path: Path, folder: Path, wait: bool) -> None:
    try:
        portalocker.lock(lock, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
        return
    except portalocker.AlreadyLocked:
        owner = _owner(path)
    except portalocker.LockException as error:
        # Some network file systems have no locks; refusing to work there would help nobody.
        print(f"warning: {folder} cannot be locked ({error}); start no second writer.", file=sys.stderr, flush=True)
        return
    if not wait:
        raise FolderInUse(
            f"{printable(folder)}: {owner} is writing here. Fix: wait until it has ended, or choose another folder."
        )
    print(f"{printable(folder)}: {owner} is writing here; waiting for it.", file=sys.stderr, flush=True)
    portalocker.lock(lock, portalocker.LockFlags.EXCLUSIVE)


def _remove_orphans(folder: Path) -> None:
    """Remove temporary files of killed writers, also from folders below that have no writer of their own."""
    for parent, folders, names in os.walk(folder):
        if Path(parent) != folder and LOCK in names:
            folders.clear()
            continue
        remove_orphans(parent, alone=True)


def _owner(path: Path) -> str:
    with suppress(OSError, UnusableFile):
        return printable(read_text(path, limit=1000).strip()) or "another process"
    return "another process"
