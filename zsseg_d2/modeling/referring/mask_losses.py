"""Losses of mask logits by name: cross-entropy, Dice, focal, and weighted sums of them.

Each is a mean over images of one number per image, so that large and small images count alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss


def _prepare(logits: Tensor, targets: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return float32 (B, P) logits, targets and weights of the pixels."""
    for masks in (targets, valid):
        if masks is not None and masks.shape != logits.shape:
            raise ValueError(f"Masks of {tuple(masks.shape)} do not fit logits of {tuple(logits.shape)}.")
    weight = torch.ones_like(logits, dtype=torch.float32) if valid is None else valid.float()
    return logits.float().flatten(1), targets.float().flatten(1), weight.flatten(1)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Average over the valid pixels of each image, then over images; an image without any counts as 0."""
    return ((values * weight).sum(1) / weight.sum(1).clamp(min=1)).mean()


def bce_loss(logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
    """Compute the binary cross-entropy.

    Args:
        logits: (B, H, W).
        targets: (B, H, W) in [0, 1] or bool.
        valid: (B, H, W) bool, the pixels that count; None: all.

    Returns:
        () float32.

    Raises:
        ValueError: If shapes differ.

    Example:
        >>> bce_loss(torch.zeros(1, 2, 2), torch.ones(1, 2, 2))  # ln 2
        tensor(0.6931)
    """
    logits, targets, weight = _prepare(logits, targets, valid)
    return _mean(F.binary_cross_entropy_with_logits(logits, targets, reduction="none"), weight)


def dice_loss(logits: Tensor, targets: Tensor, valid: Tensor | None = None, smooth: float = 1.0) -> Tensor:
    """Compute the Dice loss 1 - (2·Σpt + s) / (Σp + Σt + s) (Milletari et al. 2016, without squares).

    It is 0 on a perfect mask, an empty one too.

    Args:
        logits, targets, valid: see :func:`bce_loss`.
        smooth: s, in pixels; it makes the loss of an empty mask differentiable.
    """
    logits, targets, weight = _prepare(logits, targets, valid)
    probability, targets = logits.sigmoid() * weight, targets * weight
    both = (probability * targets).sum(1)
    return (1 - (2 * both + smooth) / (probability.sum(1) + targets.sum(1) + smooth)).mean()


def focal_loss(
    logits: Tensor, targets: Tensor, valid: Tensor | None = None, gamma: float = 2.0, alpha: float | None = None
) -> Tensor:
    """Compute the focal loss, (1 - p_t)^gamma times the cross-entropy of each pixel (Lin et al. 2017, equation 5).

    Args:
        logits, targets, valid: see :func:`bce_loss`.
        gamma: 0, which is :func:`bce_loss`, or at least 1: in between the slope at a certain pixel is infinite.
        alpha: weight of foreground in [0, 1], with 1 - alpha for background; None: both 1.

    Raises:
        ValueError: If gamma lies in between, or shapes differ.
    """
    if gamma != 0 and not gamma >= 1:
        raise ValueError(f"The focal loss needs a gamma of 0 or at least 1, not {gamma}.")
    logits, targets, weight = _prepare(logits, targets, valid)
    return _mean(sigmoid_focal_loss(logits, targets, alpha=-1 if alpha is None else alpha, gamma=gamma), weight)


def parse_loss(
    text: str, known: Sequence[str] = ("bce", "dice", "focal"), key: str = "MODEL.REFERRING.LOSS"
) -> dict[str, float]:
    """Read a sum of losses.

    Args:
        text: such as ``"bce + 0.5*dice"``.
        known: the names there are.
        key: the config key of `text`, for messages.

    Returns:
        The weight of each loss, by name.

    Raises:
        ValueError: If a name is unknown or repeated, or a weight is not a positive finite number.

    Example:
        >>> parse_loss("bce + 0.5*dice")
        {'bce': 1.0, 'dice': 0.5}
    """
    weights: dict[str, float] = {}
    for term in text.split("+"):
        number, star, name = term.rpartition("*")
        name = name.strip().lower()
        try:
            weight = float(number) if star else 1.0
        except ValueError:
            weight = float("nan")
        if name not in known or name in weights or not 0 < weight < float("inf"):
            raise ValueError(
                f"{key}='{text}': cannot read '{term.strip()}'. "
                f"Fix: write {', '.join(known)}, each once, as in '{known[0]} + 0.5*{known[1]}'."
            )
        weights[name] = weight
    return weights


class MaskLoss(nn.Module):
    """A weighted sum of losses, term by term, as Detectron2's trainer logs it.

    Args:
        terms: see :func:`parse_loss`.
        gamma, alpha: see :func:`focal_loss`.
    """

    def __init__(self, terms: str = "bce+dice", *, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__()
        self.weights = parse_loss(terms)
        self.functions: dict[str, Callable[..., Tensor]] = {
            "bce": bce_loss,
            "dice": dice_loss,
            "focal": partial(focal_loss, gamma=gamma, alpha=alpha),
        }

    def forward(self, logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the weighted terms ``loss_bce``, ``loss_dice``, ``loss_focal``; see :func:`bce_loss`."""
        return {f"loss_{k}": w * self.functions[k](logits, targets, valid) for k, w in self.weights.items()}
