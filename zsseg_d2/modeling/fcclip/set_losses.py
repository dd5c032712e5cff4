"""Classification and mask losses of matched queries. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..processes import mean_over_processes

_ABSENT = -1e4
"""Class logit of a class that an image does not have: its probability underflows to 0."""


def class_loss(
    logits: Tensor,
    labels: Tensor,
    no_object_weight: float,
    weight: Tensor | None = None,
    classes: Tensor | None = None,
) -> Tensor:
    """Compute the weighted mean of the cross-entropy; the last class is no-object.

    The weights are summed over all processes, so that the mean of their losses is the loss of the whole batch.

    Args:
        logits: (M, K + 1).
        labels: (M,) in 0 … K.
        no_object_weight: Weight of the queries whose label is K.
        weight: (M,) extra weight of each query.
        classes: (M, K + 1) probabilities that replace the labels in the cross-entropy; None: the labels are certain.
    """
    per_class = torch.ones(logits.shape[-1], device=logits.device)
    per_class[-1] = no_object_weight
    weights = per_class[labels] if weight is None else per_class[labels] * weight
    losses = F.cross_entropy(logits.float(), labels if classes is None else classes, reduction="none")
    return (losses * weights).sum() / mean_over_processes(weights.sum()).clamp(min=1e-6)


def mask_losses(
    logits: Tensor,
    targets: Tensor,
    num_masks: float,
    weight: Tensor | None = None,
    mask_weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute mask losses, summed over masks and divided by ``num_masks``.

    Binary cross-entropy is a mean over points; dice is 1 - (2·Σpt + 1) / (Σp + Σt + 1).

    Args:
        logits, targets: (N, P) at the same points.
        weight: (N, P) of the points; None: all 1.
        mask_weight: (N,) of the masks; None: all 1.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = logits.sigmoid()
    if weight is None:
        entropy = entropy.mean(-1)
    else:
        entropy = (entropy * weight).sum(-1) / weight.sum(-1).clamp(min=1)
        probability, targets = probability * weight, targets * weight
    dice = 1 - (2 * (probability * targets).sum(-1) + 1) / (probability.sum(-1) + targets.sum(-1) + 1)
    if mask_weight is not None:
        entropy, dice = entropy * mask_weight, dice * mask_weight
    return entropy.sum() / num_masks, dice.sum() / num_masks


def on_one_vocabulary(
    logits: Sequence[Tensor], labels: Sequence[Tensor], classes: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Join the queries of images that may differ in their classes, for :func:`class_loss`.

    An image with fewer classes than another gets columns before no-object whose probability is 0.

    Args:
        logits: [image] (Q, K + 1), no-object last.
        labels: [image] (Q,).
        classes: [image] (Q, K + 1) probabilities that replace the labels, or None.

    Returns:
        Logits (M, K + 1), labels (M,), and probabilities (M, K + 1), or None if no image has any.
    """
    width = max(of_image.shape[-1] for of_image in logits)
    doubtful = any(soft is not None for soft in classes)
    joined, columns, probabilities = [], [], []
    for of_image, label, soft in zip(logits, labels, classes):
        missing = width - of_image.shape[-1]
        void = of_image.shape[-1] - 1
        if missing:
            absent = of_image.new_full((len(of_image), missing), _ABSENT)
            of_image = torch.cat((of_image[:, :-1], absent, of_image[:, -1:]), 1)
        joined.append(of_image)
        own = torch.where(label == void, width - 1, label) if missing else label
        columns.append(own)
        if doubtful and soft is None:
            probabilities.append(F.one_hot(own, width).float())
        elif soft is not None:
            probabilities.append(torch.cat((F.pad(soft[:, :-1], (0, missing)), soft[:, -1:]), 1))
    return torch.cat(joined), torch.cat(columns), torch.cat(probabilities) if doubtful else None
