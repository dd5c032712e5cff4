"""Processes that end without a word: which one it was, and why, in one sentence."""

from __future__ import annotations

import re
from concurrent.futures.process import BrokenProcessPool

from ..worker_pool import WorkerLost

_LOADER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)(?:.*killed by signal: (\w+))?", re.DOTALL)
_PEER = re.compile(
    r"gloo|Connection (closed|reset) by peer|Broken pipe|NCCL|ProcessGroup|Timed out waiting|Socket Timeout|recvValue",
    re.IGNORECASE,
)
_RAISED = re.compile(r"^(?:RuntimeError|torch\.distributed\.Dist\w*Error): ", re.MULTILINE)
_TIMEOUT = re.compile(r"timed? ?out", re.IGNORECASE)
_WHY = {
    "SIGKILL": "killed, most likely because the machine ran out of memory",
    "SIGBUS": "ended by SIGBUS, most likely because the shared memory (/dev/shm) is full",
    "SIGSEGV": "ended by SIGSEGV, a crash of compiled code",
    "SIGTERM": "ended from outside (SIGTERM)",
}


def why(signal_name: str) -> str:
    """Say in words what a signal did, such as ``"killed, most likely because …"``."""
    return _WHY.get(signal_name, f"ended by {signal_name}")


def lost_worker(error: BaseException) -> str | None:
    """Explain an error that stands for a worker process that died: of a data loader, or of a pool; else None."""
    if isinstance(error, WorkerLost):
        end = f"was {why(error.signal_name)}" if error.signal_name else "ended without a word"
        return (
            f"A worker process{f' (pid {error.pid})' if error.pid else ''}, which {error.task}, {end}. Fix: use fewer "
            "workers (--num-workers), or free memory; the same command starts again."
        )
    if isinstance(error, BrokenProcessPool):
        return f"A worker process was {why('SIGKILL')}. Fix: use fewer workers, or free memory."
    found = _LOADER.search(str(error)) if isinstance(error, RuntimeError) else None
    if found is None:
        return None
    name = {"Killed": "SIGKILL", "Bus": "SIGBUS", "Segmentation": "SIGSEGV", "Terminated": "SIGTERM"}.get(
        found[2] or "Killed", "a signal"
    )
    return (
        f"The process {found[1].strip()}, which loaded images, was {why(name)}. Fix: lower DATALOADER.NUM_WORKERS or "
        "the size of images, or free memory; a training resumes with --resume."
    )


def lost_peer(error: BaseException) -> bool:
    """Return whether another process of the same run ended, or did not answer in time."""
    return isinstance(error, RuntimeError) and bool(_PEER.search(str(error)))


def lost_peer_said(report: str) -> bool:
    """Return whether a traceback of another process, as torch reports it, ends with an error of :func:`lost_peer`."""
    ends = [found.end() for found in _RAISED.finditer(report)]
    return bool(ends) and bool(_PEER.search(report, ends[-1]))


def timed_out(error: BaseException) -> bool:
    """Return whether another process of the same run did not answer in time."""
    return lost_peer(error) and bool(_TIMEOUT.search(str(error)))
