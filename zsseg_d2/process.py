"""How a process uses threads and memory on a CPU. Imported before torch, which reads the environment once."""

from __future__ import annotations

import ctypes
import os
import sys

# Threads that wait by spinning take the cores from other work: many times slower on a busy machine. Threads that sleep at
# once are woken for every small operation: a tenth slower on an idle one. A few microseconds of spinning cost neither.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # glibc's mallopt(3)


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next allocation, until the process ends; whether that could be done.

    glibc asks the system for every large block anew, and a feature map's pages are cleared at the first touch: at
    1024 x 2048 pixels that is a tenth of the time. Costs up to a quarter more memory. ``ZSSEG_D2_KEEP_MEMORY=0`` in the
    environment forbids it; elsewhere than on Linux with glibc it does nothing.
    """
    if not sys.platform.startswith("linux") or os.environ.get("ZSSEG_D2_KEEP_MEMORY", "1") == "0":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_TOP_PAD, 2**28))
