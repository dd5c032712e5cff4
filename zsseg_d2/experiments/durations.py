"""How long the rest of a suite will take, from what its finished jobs took and how far the running ones are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from .job_record import Job

_ITERATION = re.compile(rb'"iteration": (\d+)')


def in_words(seconds: float) -> str:
    """``45 s``, ``2 min 10 s``, ``3 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Durations:
    """Measured seconds of jobs, and what follows for others: those of the same run, else of the same kind."""

    def __init__(self) -> None:
        self._measured: dict[object, list[float]] = {}

    def add(self, job: Job, seconds: float) -> None:
        for key in (job.name, _kind(job)):
            self._measured.setdefault(key, []).append(seconds)

    def estimate(self, job: Job) -> float | None:
        """Seconds; None where nothing like it was measured."""
        measured = self._measured.get(job.name) or self._measured.get(_kind(job))
        return sum(measured) / len(measured) if measured else None


def time_left(
    waiting: Sequence[Job], running: Mapping[Job, float | None], places: int, durations: Durations
) -> tuple[float, bool]:
    """Estimate the rest: all work shared evenly by the places, or the longest chain of jobs, whichever takes longer.

    Args:
        waiting: each after those it needs.
        running: seconds that each still needs; None: unknown.
        places: how many jobs work at the same time.
    Returns:
        Seconds, and whether they cover everything; False: there are jobs of which nothing is known yet.
    """
    estimates = {**running, **{job: durations.estimate(job) for job in waiting}}
    ends: dict[Path, float] = {}
    for job, seconds in estimates.items():
        ends[job.folder] = (seconds or 0.0) + max((ends.get(need.folder, 0.0) for need in job.needs), default=0.0)
    shared = sum(seconds or 0.0 for seconds in estimates.values()) / max(1, min(places, len(estimates)))
    return max([shared, *ends.values()]), None not in estimates.values()


def iterations_done(folder: Path) -> int:
    """Of a training, by the end of its metrics.json; 0 where it says nothing yet."""
    try:
        with open(folder / "metrics.json", "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 16384))
            return max((int(number) + 1 for number in _ITERATION.findall(file.read())), default=0)
    except OSError:
        return 0


def _kind(job: Job) -> tuple[str, ...]:
    """Jobs of one kind take about the same time: trainings, evaluations, and what else a tool does."""
    return ("train",) if job.trains else (job.mode, *(() if "--eval-only" in job.command else job.command[1:2]))
