"""A map of a function over tasks, with worker processes and a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Task = TypeVar("Task")
Result = TypeVar("Result")


def _prepare(parent: int) -> None:
    """Leave Ctrl-C to the parent process, and exit when it is killed (a worker shares its file lock)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run(
    function: Callable[[Task], Result], tasks: Sequence[Task], label: str, num_workers: int | None, unit: str = "image"
) -> list[Result]:
    """Return results in the order of `tasks`.

    Args:
        function: a module-level function.
        num_workers: None for one a usable core (at most 8), 0 or 1 for this process alone.
    """
    if num_workers is None:
        affinity = getattr(os, "sched_getaffinity", None)
        num_workers = min(len(affinity(0)) if affinity else os.cpu_count() or 1, 8)

    def bar(results: Iterable[Result]) -> list[Result]:
        return list(tqdm(results, total=len(tasks), desc=label, unit=unit, file=sys.stderr, disable=None))

    if num_workers <= 1 or len(tasks) < 2:
        return bar(map(function, tasks))
    # Forked workers need not import the package, and with it PyTorch, again.
    context = multiprocessing.get_context("fork" if sys.platform.startswith("linux") else "spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_prepare, initargs=(os.getpid(),))
    try:
        return bar(pool.map(function, tasks, chunksize=max(1, min(4, len(tasks) // num_workers))))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
