"""Jobs -> processes side by side: what needs nothing unfinished starts when a place is free; Ctrl-C stops in order."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import records
from .estimate import (Durations, by_urgency, time_left)
from .jobs import Job
from .machine import Place
from .process import Process
from .progress import Progress
from .records import (Action, State)

_POLL = 0.1
"""Seconds between two looks at the processes."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Runner:
    """Runs what is left to do of some jobs."""

    def __init__(
        self,
        jobs: Sequence[Job],
        states: Mapping[Job, State],
        places: Sequence[Place],
        *,
        old: Path,
        iterations: Mapping[str, int],
        progress: Progress,
    ) -> None:
        """
        Args:
            jobs: each after those it needs.
            states: of every job, by its folder's files.
            old: folders that are replaced move into this one.
            iterations: of the trainings, by name of the run, for the estimate.
        """
        self._states = states
        self._free = list(places)
        self._num_places = len(places)
        self._old = old
        self._iterations = iterations
        self._progress = progress
        self._durations = Durations()
        self._running: list[Process] = []
        self._asked_to_stop = 0
        self._forwarded = 0
        self._next_look = 0.0
        self.failed: list[Job] = []
        self.skipped: list[Job] = []
        for job in jobs:
            record = records.read(job.folder)
            if states[job].action is Action.NONE and record.get("seconds"):
                self._durations.add(job, record["seconds"])
        self._waiting = by_urgency([job for job in jobs if states[job].action is not Action.NONE], self._durations)

    @property
    def interrupted(self) -> bool:
        return self._asked_to_stop > 0

    def run(self) -> None:
        """Until everything is done, or was asked to stop by Ctrl-C or SIGTERM.

        Jobs that fail leave out those that need them, and no others.
        """
        with self._stop_signals():
            try:
                while self._running or (self._waiting and not self.interrupted):
                    if not self.interrupted:
                        self._start_ready()
                    self._forward_signals()
                    self._reap()
                    self._show()
                    time.sleep(_POLL)
            finally:
                for process in self._running:  # only after an error of the suite itself
                    process.stop()

    def _show(self) -> None:
        if time.monotonic() >= self._next_look:
            self._progress.show([p.job for p in self._running], *self._time_left())
            self._next_look = time.monotonic() + 1

    def _start_ready(self) -> None:
        for job in list(self._waiting):
            if not self._free:
                return
            unfinished = {p.job.folder for p in self._running} | {other.folder for other in self._waiting}
            if any(need.folder in unfinished for need in job.needs):
                continue
            self._waiting.remove(job)
            self._start(job)

    def _start(self, job: Job) -> None:
        state = self._states[job]
        if state.action is Action.REPLACE:
            aside = records.put_aside(job, self._old)
            self._progress.say(f"{job.title}: {state.reason}; the old folder is now {aside}")
        job.folder.mkdir(parents=True, exist_ok=True)
        resume = state.action is Action.RESUME
        process = Process(job, self._free.pop(0), resume=resume, num_places=self._num_places, overwrite=state.overwrite)
        self._running.append(process)
        self._progress.started(job, resume=resume)

    def _reap(self) -> None:
        for process in [p for p in self._running if p.ended()]:
            self._running.remove(process)
            self._free.append(process.place)
            self._free.sort(key=lambda place: place.number)
            record = process.finish(stopped=self.interrupted)
            if record["status"] == "finished":
                self._durations.add(process.job, record["seconds"])
                self._progress.finished(process.job, record["seconds"], *self._time_left())
            elif record["status"] == "failed":
                self.failed.append(process.job)
                self._progress.failed(process.job, record["message"], process.last_lines())
                self._skip_dependents(process.job)
            else:
                self._progress.say(f"{process.job.title}: stopped; the same command goes on with it")

    def _skip_dependents(self, failed: Job) -> None:
        for job in [j for j in self._waiting if failed.folder in j.origins]:
            self._waiting.remove(job)
            self.skipped.append(job)
            self._progress.skipped(job, failed)

    def _time_left(self) -> tuple[float, bool]:
        running = {
            p.job: p.seconds_left(self._durations.estimate(p.job), self._iterations.get(p.job.spec.name))
            for p in self._running
        }
        return time_left(self._waiting, running, self._num_places, self._durations)

    @contextmanager
    def _stop_signals(self) -> Iterator[None]:
        """Ctrl-C: every process saves and ends; again: at once; a third time: they are killed."""
        previous: dict = {}
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    previous[number] = signal.signal(number, self._ask_to_stop)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _ask_to_stop(self, _number: int, _frame: object) -> None:
        self._asked_to_stop += 1

    def _forward_signals(self) -> None:
        while self._forwarded < self._asked_to_stop:
            self._forwarded += 1
            if self._forwarded == 1 and self._running:
                self._progress.say("Stopping: the runs save what they have. Ctrl-C again stops them at once.")
            for process in self._running:
                process.signal(signal.SIGINT if self._forwarded < 3 else signal.SIGKILL)
