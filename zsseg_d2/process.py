"""Threads, memory and output of a process. Imports no torch, which reads the environment once when it is imported."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Threads that wait by spinning take the cores from other work: many times slower on a busy machine. Threads that sleep
# at once are woken for every small operation: a tenth slower on an idle one. A few microseconds of spinning cost
# neither.
_THREAD_POLICY = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # glibc's mallopt(3)


def end_if_nobody_reads() -> None:
    """End the process quietly where standard output is a pipe without a reader, as after ``| head``.

    Raises:
        SystemExit: 141, as shells have it: 128 + the number of SIGPIPE.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at exit
        raise SystemExit(141) from None


@contextmanager
def thread_policy() -> Iterator[None]:
    """Set how threads wait, for a first ``import torch`` in this context; what the user has set is kept.

    The environment is restored afterwards.
    """
    missing = {name: value for name, value in _THREAD_POLICY.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next allocation, until the process ends.

    glibc asks the system for every large block anew, and a feature map's pages are cleared at the first touch: at
    1024 x 2048 pixels that is a tenth of the time. Costs up to a quarter more memory. ``ZSSEG_D2_KEEP_MEMORY=0`` in the
    environment forbids it; elsewhere than on Linux with glibc it does nothing.

    Returns:
        Whether that could be done.
    """
    if not sys.platform.startswith("linux") or os.environ.get("ZSSEG_D2_KEEP_MEMORY", "1") == "0":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_TOP_PAD, 2**28))
