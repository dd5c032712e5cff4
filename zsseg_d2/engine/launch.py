"""Starting one process or several: Detectron2's launcher on CUDA, gloo processes on the CPU."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import detectron2.engine
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ..compat import silence_known_warnings
from ..process import keep_freed_memory
from .errors import ConfigError

_TIMEOUT = timedelta(minutes=30)


def launch(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace, device: str) -> Any:
    """Call ``main(args)`` in ``args.num_gpus`` processes on each of ``args.num_machines`` machines.

    Args:
        main: a module-level function; processes may import it by name.
        args: with ``num_gpus``, ``num_machines``, ``machine_rank`` and ``dist_url``.
        device: MODEL.DEVICE; on ``"cpu"``, ``num_gpus`` is the number of processes.

    Returns:
        What `main` returns if there is one process, else None.

    Raises:
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
    with _waiting(), tempfile.TemporaryDirectory(prefix="zsseg_d2_") as folder:
        if on_cuda:
            url = "auto" if machines == 1 else args.dist_url
            detectron2.engine.launch(main, here, machines, args.machine_rank, url, args=(args,))
        else:
            url = args.dist_url if machines > 1 else (Path(folder) / "rendezvous").as_uri()
            # Forked processes need not import everything again; nothing has been computed yet that a fork could upset.
            method = "fork" if sys.platform == "linux" else "spawn"
            mp.start_processes(_cpu_process, (main, args, url), nprocs=here, start_method=method)
    return None


@contextmanager
def _waiting() -> Iterator[None]:
    """Leave Ctrl-C to the processes, and end with the exit status of one that fails."""
    # A handler that does nothing: children would inherit an ignored signal.
    previous = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    except mp.ProcessExitedException as error:
        raise SystemExit(error.exit_code) from None
    finally:
        signal.signal(signal.SIGINT, previous)


def _cpu_process(local_rank: int, main: Callable, args: argparse.Namespace, url: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # instead of the parent's, which does nothing
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // args.num_gpus))
    rank = args.machine_rank * args.num_gpus + local_rank
    world_size = args.num_gpus * args.num_machines
    dist.init_process_group("gloo", init_method=url, world_size=world_size, rank=rank, timeout=_TIMEOUT)
    try:
        main(args)
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # else torch counts an interrupted process as finished
    finally:
        dist.destroy_process_group()
