"""What a suite says while it works: a bar over its runs on a terminal, a line for each event everywhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from tqdm import tqdm

from .durations import Durations, in_words, iterations_done, time_left
from .job_record import FINISHED, LOG, Action, State, last_lines, read_record
from .runs import RunJob


class Progress:
    """Follows jobs by the records that they keep in their folders, whichever machine they run on."""

    def __init__(
        self,
        states: Mapping[RunJob, State],
        *,
        session: str,
        places: int,
        iterations: Mapping[str, int],
        result: Callable[[RunJob], str],
    ) -> None:
        """
        Args:
            states: of all jobs, each after those it needs.
            session: of the records that count; others are of earlier attempts.
            places: how many jobs work at the same time.
            iterations: of the trainings, by name of the run.
            result: a finished run's result in a few words; may be empty.
        """
        self._session, self._places, self._iterations, self._result = session, places, iterations, result
        self._durations = Durations()
        self._waiting = [job for job, state in states.items() if state.action is not Action.NONE]
        self._running: dict[RunJob, _Running] = {}
        self.failed: list[RunJob] = []
        self._total, self._done = len(states), len(states) - len(self._waiting)
        for job in states.keys() - set(self._waiting):
            if seconds := read_record(job.folder).get("seconds"):
                self._durations.add(job, seconds)
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
        return [running.record["pid"] for running in self._running.values()]

    def say(self, text: str) -> None:
        """Print a line with the time of day."""
        tqdm.write(f"[{time.strftime('%H:%M:%S')}] {text}", sys.stdout)
        sys.stdout.flush()

    def look(self) -> None:
        """Read what has changed, and tell it."""
        for job in [*self._running, *self._waiting]:
            record = read_record(job.folder)
            if record.get("session") != self._session:
                if (
                    job in self._waiting
                    and record.get("fingerprint") == job.fingerprint
                    and (job.folder / FINISHED).exists()
                ):
                    self._waiting.remove(job)  # as it was, or brought back
                    self._count()
                continue
            if job in self._waiting:
                self._started(job, record)
            if record["status"] != "running":
                del self._running[job]
                self._ended(job, record)

    def show(self) -> None:
        """Bring the bar up to date."""
        if not self._bar.disable:
            titles = " | ".join(job.title for job in self._running)
            self._bar.set_postfix_str(f"{_left(*self._time_left())}; {titles}", refresh=True)

    def close(self) -> None:
        """Tell which jobs vanished without a word."""
        for job in list(self._running):
            self._ended(
                job,
                {"status": "failed", "message": "it was killed", "log_start": self._running[job].record["log_start"]},
            )
        self._bar.close()

    def _started(self, job: RunJob, record: dict[str, Any]) -> None:
        self._waiting.remove(job)
        self._running[job] = _Running(record, iterations_done(job.folder) if record["resumed"] else 0)
        if record["replaced"]:
            self.say(f"{job.title}: {record['reason']}; the old folder is now {record['replaced']}")
        what = "started" if not record["resumed"] else "goes on from its last checkpoint" if job.trains else "goes on"
        self.say(f"{job.title}: {what} ({job.folder / LOG})")

    def _ended(self, job: RunJob, record: Mapping[str, Any]) -> None:
        if record["status"] == "finished":
            self._durations.add(job, record["seconds"])
            self._count()
            result = self._result(job)
            rest = f"; {_left(*self._time_left())}" if self._done < self._total else ""
            took = f"finished in {in_words(record['seconds'])}{result and f', {result}'}{rest}"
            self.say(f"{self._done}/{self._total} {job.title}: {took}")
        elif record["status"] == "failed":
            self.failed.append(job)
            log = "".join(f"\n    {line}" for line in last_lines(job.folder, record["log_start"]))
            self.say(f"{job.title}: FAILED ({record['message']}); the end of {job.folder / LOG}:{log}")
            for other in [other for other in self._waiting if job.folder in other.origins]:
                self._waiting.remove(other)
                self.say(f"{other.title}: left out, since it needs {job.title}")
        else:
            self.say(f"{job.title}: stopped; the same command goes on with it")

    def _count(self) -> None:
        self._done += 1
        self._bar.update()

    def _time_left(self) -> tuple[float, bool]:
        running = {job: self._seconds_left(job, running) for job, running in self._running.items()}
        return time_left(self._waiting, running, self._places, self._durations)

    def _seconds_left(self, job: RunJob, running: _Running) -> float | None:
        seconds = time.monotonic() - running.start
        iterations = self._iterations.get(job.name)
        done = iterations_done(job.folder) if iterations and job.trains else 0
        if iterations and done > running.iterations_before:
            return seconds * max(iterations - done, 0) / (done - running.iterations_before)
        estimate = self._durations.estimate(job)
        return None if estimate is None else max(estimate - running.record["seconds"] - seconds, 0.0)


class _Running:
    def __init__(self, record: dict[str, Any], iterations_before: int) -> None:
        self.record, self.iterations_before = record, iterations_before
        self.start = time.monotonic()


def _left(seconds: float, complete: bool) -> str:
    if complete:
        return f"about {in_words(seconds)} left" if seconds >= 1 else "nearly done"
    return f"more than {in_words(seconds)} left" if seconds >= 1 else "time left not known yet"
