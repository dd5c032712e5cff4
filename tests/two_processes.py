"""Run a function in two processes that reduce over gloo, as two devices would."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def on_two_processes(function: Callable[[int], dict[str, torch.Tensor]], folder: Path) -> list[dict[str, torch.Tensor]]:
    """Call ``function(rank)`` in two forks of this process.

    Args:
        function: Returns tensors; anything that the caller has built is there.
        folder: For the meeting point of the processes and what they return.

    Returns:
        The result of each rank.
    """
    workers = [
        multiprocessing.get_context("fork").Process(target=_work, args=(function, rank, folder)) for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    codes = [worker.exitcode for worker in workers]
    for worker in workers:
        worker.kill()
    assert codes == [0, 0], f"exit codes {codes}"
    return [torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in range(2)]


def _work(function: Callable[[int], dict[str, Any]], rank: int, folder: Path) -> None:
    meeting = (folder / "meeting").as_uri()
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    torch.save(function(rank), folder / f"rank_{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
