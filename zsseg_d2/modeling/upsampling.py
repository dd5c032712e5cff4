"""Mask logits at other resolutions: at the size of the image, and at CLIP's stride."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from .fast_forms import fast_form


@dataclass(frozen=True)
class Upsampler:
    """Bilinear resizing (``align_corners=False``) to the padded input, crop to the image, resizing to the wanted size.

    Args:
        padded: (H, W) of the padded input.
        image: (H, W) of the image in its top left corner.
        output: (H, W) that is wanted.

    Example:
        >>> import torch
        >>> upsample = Upsampler(padded=(64, 96), image=(60, 90), output=(120, 180))
        >>> upsample(torch.zeros(3, 16, 24)).shape
        torch.Size([3, 120, 180])
    """

    padded: tuple[int, int]
    image: tuple[int, int]
    output: tuple[int, int]

    def __call__(self, masks: Tensor) -> Tensor:
        """Resize (q, h, w) to (q, *output)."""
        masks = _resize(masks, self.padded)[:, : self.image[0], : self.image[1]]
        return _resize(masks, self.output)


def _resize(masks: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(masks.shape[-2:]) == tuple(size):
        return masks
    return F.interpolate(masks[None], size=size, mode="bilinear", align_corners=False)[0]


def _by_even_factors(masks: Tensor, size: tuple[int, int]) -> bool:
    return all(low % high == 0 and low // high % 2 == 0 for low, high in zip(masks.shape[-2:], size))


def _mean_of_centres(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Downsample by even factors: each place is the mean of the four cells around its centre.

    torch would first copy all cells into another order.
    """
    f, g = (low // high for low, high in zip(masks.shape[-2:], size))
    upper, lower = masks[..., f // 2 - 1 :: f, :], masks[..., f // 2 :: f, :]
    above, below = (row[..., g // 2 - 1 :: g] + row[..., g // 2 :: g] for row in (upper, lower))
    return (above + below) * 0.25


@fast_form(_mean_of_centres, when=_by_even_factors)
def downsample_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B, Q, h, w) to (B, Q, *size), bilinearly (``align_corners=False``)."""
    return F.interpolate(masks, size=size, mode="bilinear", align_corners=False)
