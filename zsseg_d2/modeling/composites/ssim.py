"""Structural similarity, differentiable and in float32 whatever the precision around it."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from .mirror import mirrored_places

RADIUS, SIGMA = 5, 1.5  # of the Gaussian window: 11×11 pixels
_K1, _K2 = 0.01, 0.03


def ssim_map(one: Tensor, two: Tensor) -> Tensor:
    """Compute the structural similarity of each pixel (Wang et al. 2004, equation 13).

    With the Gaussian window of 11×11 pixels and σ = 1.5, K1 = 0.01, K2 = 0.03 and a data range of 1; beyond the border
    lies the mirror image. It is written here because torchmetrics' variances lose their digits in half precision (its
    result can exceed 1 there), and because two products of matrices are faster than its convolution. The tests compare
    it with torchmetrics.

    Args:
        one: (B, H, W) in [0, 1].
        two: (B, H, W) in [0, 1].

    Returns:
        (B, H, W) float32 in [-1, 1].

    Raises:
        ValueError: shapes differ.
    """
    if one.shape != two.shape:
        raise ValueError(f"Images of {tuple(one.shape)} and {tuple(two.shape)} have no structural similarity.")
    with torch.autocast(one.device.type, enabled=False):
        one, two = one.float(), two.float()
        # E[x²] - E[x]² keeps more digits of values around 0; variances do not depend on where that is.
        center_a, center_b = (x.detach().mean((1, 2), keepdim=True) for x in (one, two))
        a, b = one - center_a, two - center_b
        mean_a, mean_b, aa, bb, ab = _blurred(torch.stack([a, b, a * a, b * b, a * b], 1)).unbind(1)
        variances = (aa - mean_a**2) + (bb - mean_b**2)
        covariance = ab - mean_a * mean_b
        mean_a, mean_b = mean_a + center_a, mean_b + center_b
        light = (2 * mean_a * mean_b + _K1**2) / (mean_a**2 + mean_b**2 + _K1**2)
        return light * (2 * covariance + _K2**2) / (variances + _K2**2)


def _blurred(images: Tensor) -> Tensor:
    """Blur (B, C, H, W) by the window, one dimension after the other."""
    height, width = images.shape[-2:]
    return _window(height, images.device) @ images @ _window(width, images.device).T


@lru_cache(maxsize=16)
def _window(side: int, device: torch.device) -> Tensor:
    """Return the blur of a row as a (side, side) matrix, which is faster than a convolution of so few channels."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, device=device)
    weights = torch.exp(-(offsets.double() ** 2) / (2 * SIGMA**2))
    shown = mirrored_places(-RADIUS, side + RADIUS, side, device).unfold(0, 2 * RADIUS + 1, 1)
    matrix = torch.zeros(side, side, dtype=torch.float64, device=device)
    return matrix.scatter_add(1, shown, (weights / weights.sum()).expand(side, -1)).float()
