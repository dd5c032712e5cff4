"""Moving averages of weights (Tarvainen and Valpola 2017, "Mean teachers are better role models", section 2)."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def move_average(average: nn.Module, current: nn.Module, momentum: float) -> None:
    """Move the weights of a model towards those of another one: θ' ← m · θ' + (1 - m) · θ, in place.

    Args:
        average: Receives the average θ'. Parameters that both models share stay as they are.
        current: Has the same parameters θ.
        momentum: m in [0, 1]; 1 changes nothing.

    Example:
        >>> one, other = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        >>> _ = one.weight.data.fill_(4.0), other.weight.data.fill_(8.0)
        >>> move_average(one, other, momentum=0.75)
        >>> one.weight.item()
        5.0
    """
    of_current = dict(current.named_parameters())
    for name, mean in average.named_parameters():
        value = of_current[name]
        if value is not mean:
            mean.lerp_(value.to(mean), 1 - momentum)
