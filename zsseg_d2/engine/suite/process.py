"""One job as a process of its own: start it, watch it, stop it, and note in its folder how it ended."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

import portalocker

from ..errors import ConfigError
from . import records
from .estimate import iterations_done
from .jobs import Job
from .machine import Place

TAIL = 15
"""Lines of a failed job's log that are shown."""


class Process:
    """A running job. Its output goes to ``suite.log`` in its folder, behind that of earlier attempts."""

    def __init__(self, job: Job, place: Place, *, resume: bool, num_places: int, overwrite: bool = False) -> None:
        """Start it; its folder exists, and nothing in it is in the way.

        Args:
            resume: go on with it.
            num_places: how many jobs may run side by side, for the record.
            overwrite: see :meth:`Job.command_line`.
        Raises:
            ConfigError: a process of an earlier suite still works in the folder.
        """
        self.job, self.place = job, place
        # The process inherits the lock and holds it for as long as it lives, even where this one is killed.
        self._log = locked_log(job.folder)
        before, now = records.read(job.folder), datetime.now(timezone.utc).isoformat()
        command = job.command_line(resume=resume, overwrite=overwrite)
        self._record = {
            "run": job.spec.name,
            "seed": job.seed,
            "status": "running",
            "command": command,
            "environment": dict(job.environment),
            "fingerprint": job.fingerprint,
            "settings": dict(job.settings),
            "needs": records.needs_of(job),
            "made": before.get("made", now) if resume else now,  # a resumed run is still the same
            "started": now,
            "seconds": before.get("seconds", 0.0) if resume else 0.0,
            "attempts": before.get("attempts", 0) + 1,
            "threads": place.threads,
            "side_by_side": num_places,
            "gpu": place.gpu,
        }
        records.write(job.folder, self._record)
        self._log.write(f"\n$ {shlex.join(command)}\n".encode())
        self._log.flush()
        self._log_start = self._log.tell()
        self._iterations_before = iterations_done(job.folder) if resume else 0
        self.start = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **place.environment(), **job.environment},
            start_new_session=True,  # Ctrl-C on the terminal is the suite's, which passes it on in order
        )

    @property
    def seconds(self) -> float:
        """Since the start of this attempt."""
        return time.monotonic() - self.start

    def seconds_left(self, estimate: float | None, iterations: int | None) -> float | None:
        """
        Args:
            estimate: of the whole job, from others like it. iterations: of the whole training.
        """
        done = iterations_done(self.job.folder) if iterations and self.job.spec.trains else 0
        if done > self._iterations_before:
            return self.seconds * max(iterations - done, 0) / (done - self._iterations_before)
        return None if estimate is None else max(estimate - self._record["seconds"] - self.seconds, 0.0)

    def signal(self, number: int) -> None:
        """Send a signal to the process and all that it started, as a terminal would."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def stop(self) -> None:
        """Let it save and end; kill it where it does not within a minute."""
        self.signal(signal.SIGINT)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self._process.wait()
        self.finish(stopped=True)

    def ended(self) -> bool:
        return self._process.poll() is not None

    def finish(self, *, stopped: bool) -> dict:
        """Note how it ended.

        Args:
            stopped: the suite asked it to stop.
        Returns:
            The record; ``status`` is ``"finished"``, ``"interrupted"`` or ``"failed"``, ``message`` says why it failed.
        """
        code = self._process.returncode
        self._log.close()
        missing = records.missing_result(self.job) if code == 0 else None
        if code == 0 and missing is None:
            status, message = "finished", ""
            self._record["result_sha256"] = records.result_digest(self.job)
        elif stopped:
            status, message = "interrupted", ""
        elif code == 0:
            status, message = "failed", f"it ended without {missing}"
        else:
            status, message = "failed", f"signal {-code}" if code < 0 else f"exit status {code}{self._told()}"
        self._record.update(status=status, message=message, seconds=self._record["seconds"] + self.seconds)
        records.write(self.job.folder, self._record)
        return self._record

    def _told(self) -> str:
        """What a program of this project says where it refuses: ``error: …`` at the end."""
        refusals = [line.removeprefix("error: ") for line in self.last_lines() if line.startswith("error: ")]
        return f": {refusals[-1]}" if refusals else ""

    def last_lines(self) -> list[str]:
        """The end of what this attempt wrote."""
        with open(self.job.folder / records.LOG, "rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace").splitlines()[-TAIL:]


def locked_log(folder: Path) -> IO[bytes]:
    """The log in a run's folder, open at its end, and locked.

    Raises:
        ConfigError: another process has it.
    """
    log = open(folder / records.LOG, "ab")
    try:
        portalocker.lock(log, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.LockException:
        log.close()
        raise ConfigError(f"A process that was started before still works in {folder}; wait for it, or stop it.") from None
    return log


def check_unused(folder: Path) -> None:
    """
    Raises:
        ConfigError: a process of a suite works in the folder.
    """
    if (folder / records.LOG).is_file():
        locked_log(folder).close()
