"""Processes that are killed while they write."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path


@contextmanager
def holding(write: Callable[[], AbstractContextManager[Path]]) -> Iterator[BaseProcess]:
    """Run a process that has half written a file, and waits; it is killed in the end.

    Args:
        write: Opens the file that is written.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_hold, args=(write, there))
    process.start()
    assert here.recv() == "held"
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _hold(write: Callable[[], AbstractContextManager[Path]], told: Connection) -> None:
    with write() as part:
        part.write_bytes(b"half")
        told.send("held")
        time.sleep(60)
