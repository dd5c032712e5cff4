"""Timing in turns: each form of each row in a process of its own, so that peak memory is its own too."""

from __future__ import annotations

import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ...process import keep_freed_memory


def machine() -> str:
    """What runs this, in a line."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads{gpu}, torch {torch.__version__}, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = {line.split(":")[1].strip() for line in file if line.startswith("model name")}
        return " / ".join(sorted(names)) or platform.machine()
    except OSError:
        return platform.processor() or platform.machine()


def matrix_rate(dtype: torch.dtype, device: str = "cpu", side: int = 3072) -> float:
    """Operations a second of one large matrix product, the best of five: what arithmetic alone could reach here."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / min(timed(lambda: a @ b) for _ in range(5))


def timed(function: Callable[[], Any]) -> float:
    """Seconds of a call, until whatever it asked of a GPU is done."""
    wait_for_gpu()
    start = time.perf_counter()
    function()
    wait_for_gpu()
    return time.perf_counter() - start


def wait_for_gpu() -> None:
    """Until it has done what it was asked, where one is in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def peak_memory() -> float:
    """GB that this process held at most; of the GPU, once that is in use."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def held_memory() -> float:
    """GB that this process holds now; of the GPU, once that is in use."""
    if torch.cuda.is_initialized():
        return torch.cuda.memory_allocated() / 2**30
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30
    except OSError:
        return peak_memory()


def operations(function: Callable[[], Any]) -> int:
    """Multiplications and additions of matrix products, convolutions and attention in a call."""
    with _Operations() as counter:
        function()
    return counter.total


class _Operations(TorchDispatchMode):
    """torch's own counts, without its bookkeeping of modules, which fails on models that switch gradients off inside."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=output)
        return output


@dataclass(frozen=True)
class Timing:
    """Seconds of each call, peak memory of their process in GB, how much of it was there before the first call, and what else
    the process said of itself."""

    seconds: list[float]
    memory: float
    before: float
    facts: dict[str, Any]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def added(self) -> float:
        """GB that the calls took beside programs and weights."""
        return self.memory - self.before


class Worker:
    """A process that makes one form of a row, and times a call whenever it is asked."""

    def __init__(self, command: Sequence[str]) -> None:
        """
        Args:
            command: a program that ends in :func:`serve`; returns when it is ready, so that its start disturbs no timing.
        """
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is not for it
        )
        try:
            self._answer()
        except BaseException:
            self.stop()
            raise

    def __call__(self) -> float:
        """Seconds of one call."""
        return self._ask("time")["seconds"]

    def finish(self, seconds: list[float]) -> Timing:
        """End the process; `seconds` are what its calls took."""
        answer = self._ask("finish")
        self._process.stdin.close()
        self._process.wait()
        return Timing(seconds, answer["memory"], answer["before"], answer["facts"])

    def stop(self) -> None:
        """End the process and its own processes at once."""
        with suppress(ProcessLookupError, PermissionError):  # all of them have ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _ask(self, what: str) -> dict:
        try:
            self._process.stdin.write(what + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._answer()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"The measuring process ended with status {self._process.wait()}; its error stands above."
            )
        return json.loads(line)


def serve(
    make: Callable[[], Callable[[], Any]], *, keep_memory: bool, describe: Callable[[Callable[[], Any]], dict]
) -> None:
    """The other side of :class:`Worker`: answers on standard output, one JSON object a line.

    Args:
        make: makes what is to be timed; called once, and its result once before any timing.
        keep_memory: whether freed memory is kept, as the programs of this project do.
        describe: facts of what was made, asked for after all timing and after peak memory was read.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever prints in between is no answer
    if keep_memory:
        keep_freed_memory()
    function = make()
    before = held_memory()
    function()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        if line.strip() == "time":
            answer = {"seconds": timed(function)}
        else:
            answer = {"memory": peak_memory(), "before": before, "facts": describe(function)}
        print(json.dumps(answer), file=answers, flush=True)
