"""How much weights matter to a task: the diagonal of the Fisher information (Kirkpatrick et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


def mean_squared_gradients(losses: Iterable[Tensor], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Estimate the diagonal Fisher information: the mean over images of the squared gradient of an image's loss.

    It is the empirical one, at the given labels. Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural
    networks", section 2.

    Args:
        losses: () of one image each, made when they are asked for.
        parameters: By name, with gradients.

    Returns:
        By name, in the shapes of the parameters; 0 where no loss depends on a parameter.

    Raises:
        ValueError: There is no loss.

    Example:
        >>> weight = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> mean_squared_gradients((k * weight[0] ** 2 for k in (1, 2)), {"w": weight})
        {'w': tensor([10.,  0.])}
    """
    found = {name: torch.zeros_like(value) for name, value in parameters.items()}
    images = 0
    for loss in losses:
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for total, gradient in zip(found.values(), gradients):
            if gradient is not None:
                total += gradient.square()
        images += 1
    if not images:
        raise ValueError("There is no image of which to take gradients.")
    return {name: total / images for name, total in found.items()}
