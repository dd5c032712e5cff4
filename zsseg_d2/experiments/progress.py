"""What a suite prints while it works: a bar over its runs on a terminal, a line for each event everywhere."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..reading import UnusableFile, open_regular
from .job_record import FINISHED, LOG, Action, State, last_lines, read_record
from .runs import RunJob

_ITERATION = re.compile(rb'"iteration": (\d+)')


def in_words(seconds: float) -> str:
    """Return ``45 s``, ``2 min 10 s``, ``3 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def iterations_done(folder: Path) -> int:
    """Return the iterations of a training by the end of its metrics.json; 0 where it has none yet."""
    try:
        with open_regular(folder / "metrics.json") as file:
            file.seek(max(0, file.seek(0, 2) - 16384))
            return max((int(number) + 1 for number in _ITERATION.findall(file.read())), default=0)
    except (OSError, UnusableFile):
        return 0


class Progress:
    """Follows jobs by the records that they keep in their folders, whichever machine they run on.

    Args:
        states: of all jobs, each after those it needs.
        session: of the records that count; others are of earlier attempts.
        places: how many jobs work at the same time.
        iterations: of the trainings, by name of the run.
        result: a finished run's result in a few words; may be empty.
    """

    def __init__(
        self,
        states: Mapping[RunJob, State],
        *,
        session: str,
        places: int,
        iterations: Mapping[str, int],
        result: Callable[[RunJob], str],
    ) -> None:
        self._session, self._places, self._iterations, self._result = session, places, iterations, result
        self._waiting = [job for job, state in states.items() if state.action is not Action.NONE]
        self._running: dict[RunJob, dict[str, Any]] = {}  # the records
        self._first: dict[RunJob, tuple[float, int]] = {}  # of running jobs: when they started, at which iteration
        self._seconds: dict[bool, list[float]] = {True: [], False: []}  # of finished jobs, by whether they train
        self.failed: list[RunJob] = []
        for job in states.keys() - set(self._waiting):
            self._seconds[job.trains] += filter(None, [read_record(job.folder).get("seconds")])
        self._total, self._done = len(states), len(states) - len(self._waiting)
        self._bar = tqdm(
            total=self._total,
            initial=self._done,
            bar_format="{n_fmt}/{total_fmt} runs |{bar:20}| {elapsed}{postfix}",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    @property
    def summary(self) -> str:
        return f"{self._total} runs, {self._done} of them finished"

    @property
    def processes(self) -> list[int]:
        """Process ids of the running jobs."""
        return [record["pid"] for record in self._running.values()]

    def say(self, text: str) -> None:
        """Print a line with the time of day."""
        tqdm.write(f"[{time.strftime('%H:%M:%S')}] {text}", sys.stdout)
        sys.stdout.flush()

    def look(self) -> None:
        """Read what has changed, and print it."""
        for job in [*self._running, *self._waiting]:
            record = read_record(job.folder)
            if record.get("session") == self._session:
                if job in self._waiting:
                    self._started(job, record)
                if record["status"] != "running":
                    self._ended(job, record)
            elif (
                job in self._waiting
                and record.get("fingerprint") == job.fingerprint
                and (job.folder / FINISHED).exists()
            ):
                self._waiting.remove(job)  # as it was, or brought back
                self._count()

    def show(self) -> None:
        """Bring the bar up to date."""
        if not self._bar.disable:
            titles = " | ".join(job.title for job in self._running)
            self._bar.set_postfix_str(f"{self._left()}; {titles}", refresh=True)

    def close(self) -> None:
        """Report the jobs that vanished without a word."""
        for job, record in list(self._running.items()):
            self._ended(job, {**record, "status": "failed", "message": "it was killed"})
        self._bar.close()

    def _started(self, job: RunJob, record: dict[str, Any]) -> None:
        self._waiting.remove(job)
        self._running[job] = record
        self._first[job] = (time.monotonic(), iterations_done(job.folder) if record["resumed"] else 0)
        if record["replaced"]:
            self.say(f"{job.title}: {record['reason']}; the old folder is now {record['replaced']}")
        resumed = "resumes from its last checkpoint" if job.trains else "continues"
        self.say(f"{job.title}: {resumed if record['resumed'] else 'started'} ({job.folder / LOG})")

    def _ended(self, job: RunJob, record: Mapping[str, Any]) -> None:
        del self._running[job]
        if record["status"] == "finished":
            self._seconds[job.trains].append(record["seconds"])
            self._count()
            parts = [f"finished in {in_words(record['seconds'])}", self._result(job)]
            rest = f"; {self._left()}" if self._done < self._total else ""
            self.say(f"{self._done}/{self._total} {job.title}: {', '.join(filter(None, parts))}{rest}")
        elif record["status"] == "failed":
            self.failed.append(job)
            log = "".join(f"\n    {line}" for line in last_lines(job.folder, record["log_start"]))
            self.say(f"{job.title}: FAILED ({record['message']}); the end of {job.folder / LOG}:{log}")
            for other in [other for other in self._waiting if job.folder in other.origins]:
                self._waiting.remove(other)
                self.say(f"{other.title}: left out, since it needs {job.title}")
        else:
            self.say(f"{job.title}: stopped; the same command resumes it")

    def _count(self) -> None:
        self._done += 1
        self._bar.update()

    def _left(self) -> str:
        """Estimate the time left, with the work shared evenly by the places."""
        running = [self._seconds_left(job) for job in self._running]
        seconds = [*running, *map(self._estimate, self._waiting)]
        known = [value for value in seconds if value is not None]
        rest = max([sum(known) / max(1, min(self._places, len(seconds))), *filter(None, running)])
        if len(known) == len(seconds):
            return f"about {in_words(rest)} left" if rest >= 1 else "nearly done"
        return f"more than {in_words(rest)} left" if rest >= 1 else "time left not known yet"

    def _estimate(self, job: RunJob) -> float | None:
        """Return the mean seconds of the jobs like it, trainings or others; None: none has finished yet."""
        measured = self._seconds[job.trains]
        return sum(measured) / len(measured) if measured else None

    def _seconds_left(self, job: RunJob) -> float | None:
        start, first = self._first[job]
        seconds, total = time.monotonic() - start, self._iterations.get(job.name, 0)
        done = iterations_done(job.folder) if job.trains else 0
        if done > first:
            return seconds * max(total - done, 0) / (done - first)
        estimate = self._estimate(job)
        return None if estimate is None else max(estimate - self._running[job]["seconds"] - seconds, 0.0)
