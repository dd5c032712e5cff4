"""Hungarian matching of queries and ground truth on a shared set of points (Cheng et al. 2022, section 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

_POINTS = 2048  # compared at a time on a CPU: what its cache holds

PAIRINGS = ("index", "hungarian")
"""How the queries of two models are paired."""


def mask_cost(
    mask_logits: Tensor, targets: Tensor, mask_weight: float, dice_weight: float, weight: Tensor | None = None
) -> Tensor:
    """Compute the weighted sum of mean binary cross-entropy and dice, for each pair of query and target.

    Args:
        mask_logits: (Q, P) at the points.
        targets: (N, P) in [0, 1].
        weight: (P,) of the points; None: all 1.

    Returns:
        (Q, N).
    """
    queries, points = mask_logits.shape
    device = mask_logits.device
    entropy = torch.zeros(queries, len(targets), device=device)
    overlap = torch.zeros(queries, len(targets), device=device)
    probabilities = torch.zeros(queries, 1, device=device)
    areas, count = torch.zeros(len(targets), device=device), torch.zeros((), device=device)
    step = _POINTS if device.type == "cpu" else max(points, 1)
    for start in range(0, points, step):
        part = slice(start, start + step)
        logits, truth = mask_logits[:, part].float(), targets[:, part].float()
        negative, probability = F.softplus(logits), logits.sigmoid()
        if weight is None:
            areas, count = areas + truth.sum(-1), count + logits.shape[1]
        else:
            w = weight[part].float()
            logits, negative, probability = logits * w, negative * w, probability * w
            areas, count = areas + (truth * w).sum(-1), count + w.sum()
        # The cross-entropy of a logit z is softplus(z) - z·target.
        entropy = entropy + negative.sum(-1, keepdim=True) - logits @ truth.T
        overlap = overlap + probability @ truth.T
        probabilities = probabilities + probability.sum(-1, keepdim=True)
    dice = 1 - (2 * overlap + 1) / (probabilities + areas + 1)
    return mask_weight * (entropy / count.clamp(min=1)) + dice_weight * dice


def matching_cost(
    class_logits: Tensor,
    mask_logits: Tensor,
    labels: Tensor,
    targets: Tensor,
    class_weight: float,
    mask_weight: float,
    dice_weight: float,
    weight: Tensor | None = None,
) -> Tensor:
    """Compute :func:`mask_cost` and -p(label), for each pair of query and target.

    Args:
        class_logits: (Q, K + 1).
        mask_logits: (Q, P) at the points.
        labels: (N,).
        targets: (N, P) in [0, 1].
        weight: (P,) of the points; None: all 1.

    Returns:
        (Q, N).
    """
    class_cost = -class_logits.float().softmax(-1)[:, labels]
    return class_weight * class_cost + mask_cost(mask_logits, targets, mask_weight, dice_weight, weight)


@torch.no_grad()
def pair_queries(
    logits_one: Tensor,
    logits_two: Tensor,
    masks_one: Tensor,
    masks_two: Tensor,
    class_weight: float = 2.0,
    mask_weight: float = 5.0,
    dice_weight: float = 5.0,
) -> Tensor:
    """Find for each query of model one the most similar query of model two (Hungarian matching).

    The class cost is -Σ s₁·s₂; masks are compared as in :func:`mask_cost`, with model two's probabilities as targets.

    Args:
        logits_one, logits_two: (Q, K + 1).
        masks_one, masks_two: (Q, P) mask logits at the same points.

    Returns:
        (Q,) a permutation.
    """
    with torch.autocast(logits_one.device.type, enabled=False):  # sums over points are beyond half precision
        agreement = logits_one.float().softmax(-1) @ logits_two.float().softmax(-1).T
        cost = mask_cost(masks_one, masks_two.float().sigmoid(), mask_weight, dice_weight) - class_weight * agreement
    return hungarian(cost)[1]


def hungarian(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Find the cheapest one-to-one assignment.

    Args:
        cost: (Q, N).

    Returns:
        Query indices and target indices, each (min(Q, N),) int64 on the cost's device.

    Raises:
        FloatingPointError: the cost is not finite, as after a diverged step.
    """
    values = cost.detach().cpu()
    if not bool(torch.isfinite(values).all()):
        raise FloatingPointError(
            "Matching cost is NaN or infinite: the model's predictions are. Lower SOLVER.BASE_LR or check the weights."
        )
    queries, targets = linear_sum_assignment(values.numpy())
    return torch.as_tensor(queries, device=cost.device), torch.as_tensor(targets, device=cost.device)
