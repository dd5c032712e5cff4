"""Starting one process or several: Detectron2's launcher on CUDA, gloo processes on the CPU."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import connection
from pathlib import Path
from typing import Any

import detectron2.engine
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ..compat import silence_known_warnings
from ..process import keep_freed_memory
from .errors import ConfigError, ProcessLost
from .lost_processes import lost_peer, lost_peer_said, timed_out, why

logger = logging.getLogger(__name__)

_TIMED_OUT = 75  # exit status of a process that waited too long for another
_GRACE = 5.0  # seconds that processes have to notice the end of another, and to finish their records


def launch(
    main: Callable[[argparse.Namespace], Any], args: argparse.Namespace, device: str, *, timeout: float = 600
) -> Any:
    """Call ``main(args)`` in ``args.num_gpus`` processes on each of ``args.num_machines`` machines.

    Args:
        main: a module-level function; processes may import it by name.
        args: with ``num_gpus``, ``num_machines``, ``machine_rank`` and ``dist_url``.
        device: MODEL.DEVICE; on ``"cpu"``, ``num_gpus`` is the number of processes.
        timeout: seconds that processes wait for one another (ZSSEG.PROCESS_TIMEOUT).

    Returns:
        What `main` returns if there is one process, else None.

    Raises:
        ProcessLost: a process was killed, or does not answer.
        SystemExit: with the status of a process that failed; what it said is printed once.
        ConfigError: more processes than CUDA devices, or a machine rank that does not exist.
    """
    keep_freed_memory()
    silence_known_warnings()
    here, machines = args.num_gpus, args.num_machines
    if here < 1 or machines < 1 or not 0 <= args.machine_rank < machines:
        raise ConfigError(
            f"--num-gpus {here} --num-machines {machines} --machine-rank {args.machine_rank}: there must be at least "
            "one process and one machine, and ranks count from 0."
        )
    if here * machines == 1:
        return main(args)
    on_cuda = torch.device(device).type == "cuda"
    if on_cuda and here > torch.cuda.device_count():
        raise ConfigError(f"--num-gpus is {here}, but there are {torch.cuda.device_count()} CUDA devices.")
    with _waiting(timeout), tempfile.TemporaryDirectory(prefix="zsseg_d2_") as folder:
        if on_cuda:
            url, limit = "auto" if machines == 1 else args.dist_url, timedelta(seconds=timeout)
            detectron2.engine.launch(main, here, machines, args.machine_rank, url, args=(args,), timeout=limit)
            return None
        url = args.dist_url if machines > 1 else (Path(folder) / "rendezvous").as_uri()
        # Forked processes need not import everything again; nothing has been computed yet that a fork could upset.
        method = "fork" if sys.platform == "linux" else "spawn"
        arguments = (main, args, url, timeout, folder)
        context = mp.start_processes(_cpu_process, arguments, nprocs=here, join=False, start_method=method)
        _supervise(context, timeout, Path(folder))
    return None


@contextmanager
def _waiting(timeout: float) -> Iterator[None]:
    """Leave Ctrl-C to the processes, and end with the exit status of one that fails."""
    # A handler that does nothing: children would inherit an ignored signal.
    previous = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    except mp.ProcessExitedException as error:
        if error.signal_name:
            raise ProcessLost(
                f"Process {error.error_index} (pid {error.error_pid}) of the run was {why(error.signal_name)}. Fix: "
                "use fewer processes (--num-gpus), smaller batches or images; a training resumes with --resume."
            ) from None
        raise SystemExit(error.exit_code) from None
    except mp.ProcessRaisedException as error:
        if lost_peer_said(str(error)):  # on CUDA devices nothing more is known than who noticed it
            raise ProcessLost(
                f"Process {error.error_index} (pid {error.error_pid}) of the run lost another one, which ended or did "
                f"not answer for ZSSEG.PROCESS_TIMEOUT={timeout:g} seconds. Fix: look for its message above, or "
                "which process is missing; a training resumes with --resume."
            ) from None
        raise
    finally:
        signal.signal(signal.SIGINT, previous)


def _supervise(context: Any, timeout: float, folder: Path) -> None:
    """Wait for the processes of :func:`_cpu_process`.

    Raises:
        ProcessLost: one does not answer.
        ProcessExitedException, ProcessRaisedException: the first one that failed.
        SystemExit: 1, after what the first one said.
    """
    running = {process.sentinel: index for index, process in enumerate(context.processes)}
    failed: int | None = None
    while running and failed is None:
        for sentinel in connection.wait(list(running)):
            index = running.pop(sentinel)
            context.processes[index].join()  # the sentinel may be ready before the exit status is
            if context.processes[index].exitcode:
                failed = index
                break
    if failed is None:
        context.join()
        return
    deadline = time.monotonic() + _GRACE
    while running and time.monotonic() < deadline:
        for sentinel in connection.wait(list(running), max(0.0, deadline - time.monotonic())):
            del running[sentinel]
    if context.processes[failed].exitcode == _TIMED_OUT and running:
        silent = sorted(running.values())
        for index in silent:
            context.processes[index].kill()
        names = ", ".join(f"{k} (pid {context.processes[k].pid})" for k in silent)
        raise ProcessLost(
            f"Process {names} of the run did not answer for ZSSEG.PROCESS_TIMEOUT={timeout:g} seconds. Fix: if it was "
            "only slow, raise that key; a training resumes with --resume."
        )
    said = folder / f"{failed}.txt"
    if said.is_file():
        for index in running.values():
            context.processes[index].kill()
        print(said.read_text(encoding="utf-8"), file=sys.stderr, flush=True)
        raise SystemExit(1)
    _raise_of(context, failed)


def _raise_of(context: Any, failed: int) -> None:
    """Raise for the process that failed first; torch's own join takes the first by number."""
    process = context.processes[failed]
    if process.exitcode < 0:
        name = signal.Signals(-process.exitcode).name
        for other in context.processes:
            other.kill()
        raise mp.ProcessExitedException("", failed, process.pid, process.exitcode, name)
    context.sentinels = {process.sentinel: failed}
    while not context.join():
        pass


def _cpu_process(
    local_rank: int, main: Callable, args: argparse.Namespace, url: str, timeout: float, folder: str
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # instead of the parent's, which does nothing
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // args.num_gpus))
    rank = args.machine_rank * args.num_gpus + local_rank
    world_size = args.num_gpus * args.num_machines
    limit = timedelta(seconds=timeout)
    try:
        dist.init_process_group("gloo", init_method=url, world_size=world_size, rank=rank, timeout=limit)
        main(args)
        dist.destroy_process_group()
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # else torch counts an interrupted process as finished
    except SystemExit as stop:
        if isinstance(stop.code, str):  # the parent says it, once
            Path(folder, f"{local_rank}.txt").write_text(stop.code, encoding="utf-8")
            raise SystemExit(1) from None
        raise
    except Exception as error:
        if not lost_peer(error):
            raise
        logger.debug("A process of the run was lost:", exc_info=True)
        if not timed_out(error):
            time.sleep(_GRACE)  # the parent knows which process ended, and why, and ends this one
        raise SystemExit(_TIMED_OUT) from None
