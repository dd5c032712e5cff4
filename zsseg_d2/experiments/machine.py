"""The machine: cores, memory, CUDA devices, and what each of several runs at the same time gets of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from ..engine.errors import ConfigError


class Place(NamedTuple):
    """The share of the machine of one of several runs."""

    threads: int
    gpu: str | None  # its entry of CUDA_VISIBLE_DEVICES


def places(jobs: int | None, *, memory_gb: float, on_cuda: bool) -> list[Place]:
    """Share the machine out.

    Args:
        jobs: how many; None: one for each visible CUDA device, or as many as there are cores and memory for. Two
            processes of one thread each do more on two cores than one process of two threads.
        memory_gb: main memory of one run.
        on_cuda: whether runs work on CUDA devices.
    Raises:
        ConfigError: `jobs` is not positive.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError(f"--jobs must be positive, but is {jobs}.")
    gpus = visible_gpus() if on_cuda else []
    if jobs is None:
        jobs = len(gpus) or max(1, min(usable_cores(), int(usable_memory_gb() // memory_gb)))
    threads = max(1, usable_cores() // jobs)
    return [Place(threads, gpus[k % len(gpus)] if gpus else None) for k in range(jobs)]


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def usable_memory_gb() -> float:
    """Return the GiB of memory available without swapping, within the limit of a control group."""
    available = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        available = min(available, limit - used)
    except (OSError, ValueError):  # no such file, or "max"
        pass
    return available / 2**30


def visible_gpus() -> list[str]:
    """Return the CUDA devices that this process sees, as entries of CUDA_VISIBLE_DEVICES."""
    count = torch.cuda.device_count()
    listed = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
    return listed[:count] if listed else [str(k) for k in range(count)]
