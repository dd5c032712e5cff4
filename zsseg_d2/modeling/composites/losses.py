"""Losses of a map in [0, 1], a mask or a depth as a share of its range: by name, and weighted sums of them.

Each is a mean over images of one number per image, so that an image's loss does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..referring.mask_losses import bce_loss, dice_loss, parse_loss
from .ssim import ssim_map

_LEAST = 1e-12  # of what a square root or a quotient is taken, so that gradients stay finite


def _prepare(logits: Tensor, targets: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return float32 (B, H, W) shares, targets and weights; pixels that do not count agree with their targets."""
    for map in (targets, valid):
        if map is not None and map.shape != logits.shape:
            raise ValueError(f"Maps of {tuple(map.shape)} do not fit logits of {tuple(logits.shape)}.")
    shares, targets = logits.float().sigmoid(), targets.float()
    if valid is None:
        return shares, targets, torch.ones_like(shares)
    return torch.where(valid, shares, 0.0), torch.where(valid, targets, 0.0), valid.float()


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Average (B, H, W) over the pixels that count; (B,), 0 for an image without any."""
    return (values * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1)


def ssim_loss(logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
    """Compute (1 - SSIM) / 2, between 0 and 1 (DenseDepth, Alhashim and Wonka 2018, section 3.2).

    Args:
        logits: (B, H, W); its sigmoid is compared.
        targets: (B, H, W) in [0, 1] or bool.
        valid: (B, H, W) bool, the pixels that count; None: all.

    Returns:
        () float32.

    Raises:
        ValueError: shapes differ.
    """
    shares, targets, weight = _prepare(logits, targets, valid)
    return ((1 - _mean(ssim_map(shares, targets), weight)) / 2).clamp(0, 1).mean()


def rmse_loss(logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
    """Compute the root of the mean squared difference; see :func:`ssim_loss`."""
    shares, targets, weight = _prepare(logits, targets, valid)
    return _mean((shares - targets) ** 2, weight).clamp(min=_LEAST).sqrt().mean()


def l1_loss(logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
    """Compute the mean absolute difference; see :func:`ssim_loss`."""
    shares, targets, weight = _prepare(logits, targets, valid)
    return _mean((shares - targets).abs(), weight).mean()


def gradient_loss(logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
    """Compute the mean absolute differences of both slopes, added (DenseDepth, equation 3); see :func:`ssim_loss`.

    A slope is the difference of two neighbors; it counts where both do.
    """
    shares, targets, weight = _prepare(logits, targets, valid)
    error, total = shares - targets, torch.zeros((), device=logits.device)
    for dimension in (1, 2):
        slope = error.diff(dim=dimension).abs()
        length = error.shape[dimension] - 1
        both = weight.narrow(dimension, 0, length) * weight.narrow(dimension, 1, length)
        total = total + _mean(slope, both).mean()
    return total


def ssi_loss(logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
    """Compute half the mean squared difference after the best scale and shift of each image; see :func:`ssim_loss`.

    MiDaS, Ranftl et al. 2020, equations 1, 2 and 4. The scale and the shift that fit best are part of the gradient.
    """
    shares, targets, weight = _prepare(logits, targets, valid)
    shares = (shares - _mean(shares, weight)[:, None, None]) * weight
    targets = (targets - _mean(targets, weight)[:, None, None]) * weight
    scale = (shares * targets).sum((1, 2)) / (shares**2).sum((1, 2)).clamp(min=_LEAST)
    return (_mean((scale[:, None, None] * shares - targets) ** 2, weight) / 2).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "bce": bce_loss,
    "dice": dice_loss,
    "ssim": ssim_loss,
    "rmse": rmse_loss,
    "l1": l1_loss,
    "gradient": gradient_loss,
    "ssi": ssi_loss,
}
"""Losses by name. Each takes logits, whose sigmoid is the map, targets in [0, 1], and which pixels count."""


class MapLoss(nn.Module):
    """A weighted sum of losses, term by term, as Detectron2's trainer logs it.

    Args:
        terms: such as ``"bce + 0.5*dice"``; "": none.
        of: "mask" or "depth", for the names of the terms.
        key: the config key of `terms`, for messages.

    Raises:
        ValueError: a name is unknown or repeated, or a weight is not a positive finite number.
    """

    def __init__(self, terms: str, of: str, key: str) -> None:
        super().__init__()
        self.of = of
        self.weights = parse_loss(terms, tuple(LOSSES), key) if terms else {}

    def forward(self, logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the weighted terms, such as ``loss_mask_bce``; see :func:`ssim_loss`."""
        return {f"loss_{self.of}_{k}": w * LOSSES[k](logits, targets, valid) for k, w in self.weights.items()}
