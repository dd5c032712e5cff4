"""Means over the processes of a distributed run, so that a loss does not depend on how a batch is shared."""

from __future__ import annotations

import torch
from detectron2.utils import comm
from torch import Tensor


def mean_over_processes(value: Tensor) -> Tensor:
    """Average a tensor over all processes, without a gradient. Each process must call it as often as the others.

    Args:
        value: (...), of one shape everywhere.

    Returns:
        (...) the mean; with one process ``value`` itself.
    """
    processes = comm.get_world_size()
    if processes == 1:
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total / processes


def mean_number(number: float, device: torch.device) -> float:
    """Average a number over all processes; see :func:`mean_over_processes`.

    Args:
        number: Of this process.
        device: Where the processes exchange it.
    """
    if comm.get_world_size() == 1:
        return float(number)
    return mean_over_processes(torch.tensor(float(number), device=device)).item()
