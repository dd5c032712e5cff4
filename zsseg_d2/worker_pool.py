"""Pools of worker processes, which leave Ctrl-C to their parent, end with it, and say who was lost doing what."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager


class WorkerLost(BrokenProcessPool):
    """A worker of a pool ended before its work was done.

    Args:
        task: what the workers did, as in "rendered images".
        pid: the process; 0 if that is not known.
        signal_name: what ended it, such as "SIGKILL"; "" if it ended by itself.
    """

    def __init__(self, task: str, pid: int, signal_name: str) -> None:
        super().__init__(task, pid, signal_name)
        self.task, self.pid, self.signal_name = task, pid, signal_name


@contextmanager
def worker_pool(count: int, task: str, *, method: str = "") -> Iterator[ProcessPoolExecutor]:
    """Start a pool; it is shut down in the end, without the work that has not begun.

    Args:
        count: of processes.
        task: what they do, for the message about a lost one, as in "rendered images".
        method: how they start. Default: forked where that is possible, for a spawned one imports torch first.

    Raises:
        WorkerLost: in place of BrokenProcessPool.
    """
    method = method or ("fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn")
    context = multiprocessing.get_context(method)
    pool = ProcessPoolExecutor(count, context, initializer=_prepare, initargs=(os.getpid(),))
    try:
        yield pool
    except BrokenProcessPool as error:
        processes = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(cancel_futures=True)
        # The executor ends the others by SIGTERM.
        ended = [p for p in processes if p.exitcode not in (None, 0, -signal.SIGTERM)]
        pid, code = (ended[0].pid or 0, ended[0].exitcode or 0) if ended else (0, 0)
        raise WorkerLost(task, pid, signal.Signals(-code).name if code < 0 else "") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(parent: int) -> None:
    """Leave Ctrl-C to the parent process, and exit when it is killed (a worker shares its file locks)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
