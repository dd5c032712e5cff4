"""Losses between mask logits and masks, by name: cross-entropy, Dice, focal, and weighted sums of them.

Each is a mean over images of one number an image, so that large and small images count alike.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss


def _prepare(logits: Tensor, targets: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Float32 (B, P) logits, targets and weights of the pixels."""
    if logits.shape != targets.shape or (valid is not None and valid.shape != logits.shape):
        other = targets if logits.shape != targets.shape else valid
        raise ValueError(f"Masks of {tuple(other.shape)} do not fit logits of {tuple(logits.shape)}.")
    weight = torch.ones_like(logits, dtype=torch.float32) if valid is None else valid.float()
    return logits.float().flatten(1), targets.float().flatten(1), weight.flatten(1)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Over the valid pixels of each image, then over images; an image without any adds 0."""
    return ((values * weight).sum(1) / weight.sum(1).clamp(min=1)).mean()


def bce_loss(logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
    """Binary cross-entropy.

    Args:
        logits: (B, H, W). targets: (B, H, W) in [0, 1] or bool. valid: (B, H, W) bool, the pixels that count; None: all.

    Returns:
        () float32.

    Raises:
        ValueError: shapes that differ.
    """
    logits, targets, weight = _prepare(logits, targets, valid)
    return _mean(F.binary_cross_entropy_with_logits(logits, targets, reduction="none"), weight)


def dice_loss(logits: Tensor, targets: Tensor, valid: Tensor | None = None, smooth: float = 1.0) -> Tensor:
    """1 - (2·Σpt + s) / (Σp + Σt + s) (Milletari et al. 2016 without squares), 0 on a perfect mask, an empty one too.

    Args:
        smooth: s, in pixels; it makes the loss of an empty mask differentiable. The rest is as in :func:`bce_loss`.
    """
    logits, targets, weight = _prepare(logits, targets, valid)
    probability, targets = logits.sigmoid() * weight, targets * weight
    both = (probability * targets).sum(1)
    return (1 - (2 * both + smooth) / (probability.sum(1) + targets.sum(1) + smooth)).mean()


def focal_loss(
    logits: Tensor, targets: Tensor, valid: Tensor | None = None, gamma: float = 2.0, alpha: float | None = None
) -> Tensor:
    """Cross-entropy of each pixel times (1 - p_t)^gamma (Lin et al. 2017, equation 5), by torchvision.

    Args:
        gamma: 0, which is :func:`bce_loss`, or at least 1: between them the slope at a sure pixel is infinite.
        alpha: weight of foreground in [0, 1], with 1 - alpha for background; None: both 1. The rest is as in
            :func:`bce_loss`.
    """
    if gamma != 0 and not gamma >= 1:
        raise ValueError(f"The focal loss needs a gamma of 0 or at least 1, not {gamma}.")
    logits, targets, weight = _prepare(logits, targets, valid)
    return _mean(sigmoid_focal_loss(logits, targets, alpha=-1 if alpha is None else alpha, gamma=gamma), weight)


def parse_loss(text: str) -> dict[str, float]:
    """``"bce+dice"`` or ``"bce + 0.5*dice"`` to names and weights.

    Raises:
        ValueError: an unknown or repeated name, or a weight that is no positive finite number.
    """
    weights: dict[str, float] = {}
    for term in text.split("+"):
        number, star, name = term.rpartition("*")
        name = name.strip().lower()
        try:
            weight = float(number) if star else 1.0
        except ValueError:
            weight = float("nan")
        if name not in ("bce", "dice", "focal") or name in weights or not 0 < weight < float("inf"):
            raise ValueError(
                f"'{term.strip()}' in the loss '{text}': write bce, dice, focal, each once, as in 'bce + 0.5*dice'."
            )
        weights[name] = weight
    return weights


class MaskLoss(nn.Module):
    """A weighted sum, term by term as Detectron2's trainer logs it.

    Args:
        terms: see :func:`parse_loss`. gamma, alpha: of the focal loss.
    """

    def __init__(self, terms: str = "bce+dice", *, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__()
        self.weights = parse_loss(terms)
        self.functions = {"bce": bce_loss, "dice": dice_loss, "focal": partial(focal_loss, gamma=gamma, alpha=alpha)}

    def forward(self, logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> dict[str, Tensor]:
        """The weighted terms as ``loss_bce``, ``loss_dice``, ``loss_focal``; arguments as in :func:`bce_loss`."""
        return {f"loss_{k}": w * self.functions[k](logits, targets, valid) for k, w in self.weights.items()}
