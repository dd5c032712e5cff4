"""How long the rest of a suite will take, from what its finished jobs took and how far the running ones are."""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from .jobs import Job

_TYPICAL = {"training": 10.0, "evaluation": 1.0}
"""Relative lengths, for the order of jobs only, before anything was measured."""

_ITERATION = re.compile(rb'"iteration": (\d+)')


def kind(job: Job) -> str:
    """Jobs of one kind take about the same time."""
    if job.spec.trains:
        return "training"
    return "evaluation" if job.spec.eval_only else str(job.spec.tool)


class Durations:
    """Measured seconds of jobs, and what follows for others: those of the same run, else of the same kind."""

    def __init__(self) -> None:
        self._of_run: dict[str, list[float]] = {}
        self._of_kind: dict[str, list[float]] = {}

    def add(self, job: Job, seconds: float) -> None:
        self._of_run.setdefault(job.spec.name, []).append(seconds)
        self._of_kind.setdefault(kind(job), []).append(seconds)

    def estimate(self, job: Job) -> float | None:
        """Seconds; None where nothing like it was measured."""
        measured = self._of_run.get(job.spec.name) or self._of_kind.get(kind(job))
        return sum(measured) / len(measured) if measured else None

    def length(self, job: Job) -> float:
        """A number that is larger for longer jobs."""
        seconds = self.estimate(job)
        return _TYPICAL.get(kind(job), 3.0) if seconds is None else seconds


def by_urgency(jobs: Collection[Job], durations: Durations) -> list[Job]:
    """Seed by seed, and within a seed those first that have most work behind them: their own and that of dependents."""
    behind: dict[Path, float] = {}
    for job in reversed(list(jobs)):  # dependents before what they need
        behind[job.folder] = durations.length(job) + behind.get(job.folder, 0.0)
        for need in job.needs:
            behind[need.folder] = max(behind.get(need.folder, 0.0), behind[job.folder])
    return sorted(jobs, key=lambda job: (-1 if job.seed is None else job.seed, -behind[job.folder]))


def time_left(
    waiting: Sequence[Job], running: Mapping[Job, float | None], num_places: int, durations: Durations
) -> tuple[float, bool]:
    """
    Args:
        waiting: in the order in which they start, once what they need has finished.
        running: seconds that each still needs; None: unknown.
    Returns:
        Seconds, and whether they cover everything; False: there are jobs of which nothing is known yet.
    """
    complete = all(seconds is not None for seconds in running.values())
    ends = {job.folder: seconds or 0.0 for job, seconds in running.items()}
    free = sorted(list(ends.values())[:num_places] + [0.0] * max(0, num_places - len(ends)))
    heapq.heapify(free)
    rest = list(waiting)
    while rest:
        pending = {job.folder for job in rest}
        job = next(j for j in rest if not pending & {need.folder for need in j.needs})
        rest.remove(job)
        seconds = durations.estimate(job)
        complete &= seconds is not None
        start = max([heapq.heappop(free), *(ends.get(need.folder, 0.0) for need in job.needs)])
        ends[job.folder] = start + (seconds or 0.0)
        heapq.heappush(free, ends[job.folder])
    return max(ends.values(), default=0.0), complete


def iterations_done(folder: Path) -> int:
    """Of a training, by the end of its metrics.json; 0 where it says nothing yet."""
    try:
        with open(folder / "metrics.json", "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 16384))
            return max((int(number) + 1 for number in _ITERATION.findall(file.read())), default=0)
    except OSError:
        return 0
