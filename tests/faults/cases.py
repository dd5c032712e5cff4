"""One program in a forked process, and a judgement of how it ended."""

from __future__ import annotations

import io
import logging
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import detectron2.utils.logger

import zsseg_d2_console

GB = 2**30
GOOD = ("accepted", "clear")
"""Kinds of endings that keep the promise of one clear sentence."""


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    ``kind``: "accepted" (exit status 0), "clear" (one ``error:`` line that helps, and another status), "vague" (one
    that names neither what is wrong nor a remedy), "several errors", "traceback", "hang", "memory" (more than the case
    may use), "silent" (no reason is told), or "signal N".
    """

    kind: str
    status: int
    output: str
    seconds: float
    memory: float  # peak, GB

    @property
    def last_line(self) -> str:
        """The ``error:`` line, else the last line that is not empty."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        return ([line for line in lines if _is_error(line)] or lines or [""])[-1]


def run_program(
    words: list[str],
    *,
    environment: Mapping[str, str] | None = None,
    folder: str | os.PathLike | None = None,
    timeout: float = 120,
    memory: float = 10 * GB,
    limits: Callable[[], None] = lambda: None,
    about: str | os.PathLike = "",
) -> Outcome:
    """Run ``zsseg-d2 WORDS`` in a fork of this process, which has imported everything.

    Args:
        words: command and arguments.
        environment: variables that differ from this process.
        folder: its working directory.
        timeout: seconds, after which it is a "hang".
        memory: bytes of address space that it may use beyond those of this process.
        limits: called in the process before the program.
        about: file or folder that an error may name instead of a remedy.

    Returns:
        The outcome; its output is cut to the last 20,000 characters.
    """
    reading, writing = os.pipe()  # not a file: limits on files must not cut what the program says
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _be_the_program(words, environment or {}, folder, memory, writing, limits)
    os.close(writing)
    os.set_blocking(reading, False)
    try:
        said, kind, status, peak = _wait_for(child, reading, started + timeout)
    finally:
        os.close(reading)
    seconds = time.monotonic() - started
    output = said.decode("utf-8", "replace").replace("\r", "\n")
    return Outcome(kind or judge(status, output, about), status, output[-20_000:], seconds, peak)


def _wait_for(child: int, reading: int, deadline: float) -> tuple[bytes, str, int, float]:
    """Read what a process says until it ends, and kill it after the deadline.

    Returns:
        Its output, "hang" or "", its exit code, and its peak in GB.
    """
    said, kind = bytearray(), ""
    while True:
        ended, state, usage = os.wait4(child, os.WNOHANG)
        with suppress(BlockingIOError):
            while part := os.read(reading, 2**16):
                said += part
        if ended:
            return bytes(said), kind, os.waitstatus_to_exitcode(state), usage.ru_maxrss / 2**20
        if time.monotonic() > deadline and not kind:
            with suppress(ProcessLookupError):  # it has no group of its own yet
                os.killpg(child, signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
            kind = "hang"
        time.sleep(0.01)


def judge(status: int, output: str, about: str | os.PathLike = "") -> str:
    """Return the kind of ending of a program that ended by itself; see :class:`Outcome`."""
    if status < 0:
        return f"signal {-status}"
    if "Traceback (most recent call last)" in output:
        return "traceback"
    if status == 0:
        return "accepted"
    errors = [line for line in output.splitlines() if _is_error(line)]
    if "not enough memory" in output:
        return "memory"
    if len(errors) != 1:
        return "several errors" if errors else "silent"
    return "clear" if _helps(errors[0], Path(about)) else "vague"


def _helps(line: str, about: Path) -> bool:
    """Return whether an ``error:`` line has a remedy, or names the file or its folder."""
    if "Fix: " in line or not line.startswith("error: "):  # argparse names the argument
        return True
    folder = about.absolute().parent.name
    return bool(about.name) and (about.name in line or f"/{folder}" in line or f"{folder}/" in line)


def _is_error(line: str) -> bool:
    return line.startswith("error: ") or ": error: " in line  # argparse names the program first


def _forget_log_handlers() -> None:
    """Drop the handlers of what this process did before it forked; their files may be closed."""
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
    detectron2.utils.logger.setup_logger.cache_clear()


def _be_the_program(
    words: list[str],
    environment: Mapping[str, str],
    folder: str | os.PathLike | None,
    memory: float,
    log: int,
    limits: Callable[[], None],
) -> None:
    """Become the program; never returns."""
    status = 1
    try:
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), line_buffering=True, encoding="utf-8")
        sys.stderr = io.TextIOWrapper(
            os.fdopen(2, "wb", closefd=False), line_buffering=True, encoding="utf-8", errors="backslashreplace"
        )
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (int(used + memory),) * 2)
        _forget_log_handlers()
        os.environ.update(environment)
        os.chdir(folder or os.getcwd())
        sys.argv = ["zsseg-d2", *words]
        limits()
        status = zsseg_d2_console.main(words) or 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(BaseException):
                stream.flush()
        os._exit(status & 255)  # whatever happens, this must not go on as the process that forked
