"""What a suite says while it works: a bar over its runs on a terminal, a line for each event everywhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from tqdm import tqdm

from . import records
from .jobs import Job
from .words import in_words


class Progress:
    """A bar that counts finished runs, and lines above it."""

    def __init__(self, total: int, done: int, *, result: Callable[[Job], str]) -> None:
        """
        Args:
            total: number of runs. done: of them finished before.
            result: a finished run's result in a few words; may be empty.
        """
        self._result = result
        self._bar = tqdm(
            total=total,
            initial=done,
            bar_format="{n_fmt}/{total_fmt} runs |{bar:20}| {elapsed}{postfix}",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )
        self._total, self._done = total, done

    def say(self, text: str) -> None:
        """A line with the time of day."""
        tqdm.write(f"[{time.strftime('%H:%M:%S')}] {text}", sys.stdout)
        sys.stdout.flush()

    def show(self, running: Sequence[Job], seconds: float, complete: bool) -> None:
        """Bring the bar up to date."""
        if not self._bar.disable:
            titles = " | ".join(job.title for job in running)
            self._bar.set_postfix_str(f"{_left(seconds, complete)}; {titles}", refresh=True)

    def started(self, job: Job, *, resume: bool) -> None:
        what = "started" if not resume else "goes on from its last checkpoint" if job.spec.trains else "goes on"
        self.say(f"{job.title}: {what} ({job.folder / records.LOG})")

    def finished(self, job: Job, seconds: float, left: float, complete: bool) -> None:
        self._count()
        result = self._result(job)
        rest = f"; {_left(left, complete)}" if self._done < self._total else ""
        self.say(f"{self._done}/{self._total} {job.title}: finished in {in_words(seconds)}{result and f', {result}'}{rest}")

    def failed(self, job: Job, message: str, lines: Sequence[str]) -> None:
        """The end of its log, where whoever mends it will look first."""
        log = "".join(f"\n    {line}" for line in lines)
        self.say(f"{job.title}: FAILED ({message}); the end of {job.folder / records.LOG}:{log}")

    def skipped(self, job: Job, failed: Job) -> None:
        self.say(f"{job.title}: left out, since it needs {failed.title}")

    def close(self) -> None:
        self._bar.close()

    def _count(self) -> None:
        self._done += 1
        self._bar.update()


def _left(seconds: float, complete: bool) -> str:
    if complete:
        return f"about {in_words(seconds)} left" if seconds >= 1 else "nearly done"
    return f"more than {in_words(seconds)} left" if seconds >= 1 else "time left not known yet"
