"""A map of a function over tasks, with worker processes and a progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from tqdm import tqdm

from ...worker_pool import worker_pool

Task = TypeVar("Task")
Result = TypeVar("Result")


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
    with worker_pool(num_workers, f"worked on {label}") as pool:
        return bar(pool.map(function, tasks, chunksize=max(1, min(4, len(tasks) // num_workers))))
