"""A convolutional decoder on a frozen CLIP: maps of several depths join a growing grid, and the prompt speaks at each."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _norm(channels: int) -> nn.GroupNorm:
    """Group norm: batches of dense prediction are too small for batch norm."""
    return nn.GroupNorm(gcd(8, channels), channels)


class UNetStage(nn.Module):
    """Joins the map from below with one of CLIP's, then two 3 x 3 convolutions; FiLM by the prompt after the first.

    Args:
        below: channels of the map from below, 0 at the deepest stage. skip: channels of CLIP's map. dim: channels out.
        condition_dim: E. hints: channels of hints, 0 or 1.
    """

    def __init__(self, below: int, skip: int, dim: int, condition_dim: int, hints: int = 0) -> None:
        super().__init__()
        self.skip = nn.Conv2d(skip, dim, 1)
        self.conv1 = nn.Conv2d(below + dim + hints, dim, 3, padding=1, bias=False)
        self.norm1 = _norm(dim)
        self.film = nn.Linear(condition_dim, 2 * dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.norm2 = _norm(dim)
        # At first the prompt changes nothing, and no random modulation has to be unlearned.
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(
        self,
        below: Tensor | None,
        skip: Tensor,
        condition: Tensor,
        size: tuple[int, int],
        owner: Tensor | None,
        hint: Tensor | None = None,
    ) -> Tensor:
        """
        Args:
            below: (N, C', h', w') or None. skip: (B, C, h, w). condition: (N, E).
            size: the stage's grid. owner: (N,) the image of each prompt, or None. hint: (N, 1, h'', w'') or None.

        Returns:
            (N, dim, *size).
        """
        # The projection comes first: it is the same for all prompts of an image, and smaller to resize.
        x = _resize(self.skip(skip), size)
        x = x if owner is None else x[owner]
        parts = [_resize(part, size) for part in (below, hint) if part is not None]
        x = torch.cat((*parts, x), 1) if parts else x
        scale, shift = self.film(condition)[..., None, None].chunk(2, 1)  # (N, dim, 1, 1)
        x = F.relu((1 + scale) * self.norm1(self.conv1(x)) + shift)
        return F.relu(self.norm2(self.conv2(x)))


class PixelStem(nn.Module):
    """A fine map of the image itself, for towers without one (as UNETR has it: Hatamizadeh et al. 2022, figure 2).

    Args:
        dim: channels out. stride: 2 or a power of 2.
    """

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        steps = max(1, stride.bit_length() - 1)
        widths = [3, *[max(8, dim // 2)] * (steps - 1), dim]
        layers: list[nn.Module] = []
        for k in range(steps):
            layers += [
                nn.Conv2d(widths[k], widths[k + 1], 3, stride=2, padding=1, bias=False),
                _norm(widths[k + 1]),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised to (B, dim, H / stride, W / stride)."""
        return self.layers(images)


class UNetDecoder(nn.Module):
    """A U-Net (Ronneberger et al. 2015) whose contracting path is a frozen CLIP.

    Each stage doubles the grid of the one below, up to one cell a pixel. A ResNet's maps have these grids already; those
    of a ViT, which all have one, are resized to them, the shallowest to the finest, and the image itself is the finest.

    Args:
        widths: channels of CLIP's maps, shallowest first. stride: pixels of a cell of the deepest map.
        condition_dim: E. dims: channels of the stages, deepest first, one a map.
        hints: every stage is also given a map of where the prompt might be.
        pixels: the last stage takes the image itself in place of a map: dims has one more than widths.

    Raises:
        ValueError: another number of dims than of widths.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        stride: int,
        condition_dim: int = 512,
        dims: Sequence[int] = (256, 128, 64, 32),
        hints: bool = False,
        pixels: bool = False,
    ) -> None:
        super().__init__()
        if len(dims) != len(widths) + pixels or not widths:
            raise ValueError(f"A U-Net on {len(widths) + pixels} maps needs as many stage widths, not {tuple(dims)}.")
        self.stem = PixelStem(dims[-1], max(2, stride // 2 ** (len(dims) - 1))) if pixels else None
        widths = (dims[-1], *widths) if pixels else widths
        self.stride, self.hints = stride, hints
        # CLIP's embeddings differ in length from model to model; the stages see them at one scale.
        self.condition_norm = nn.LayerNorm(condition_dim)
        below = (0, *dims)
        self.stages = nn.ModuleList(
            UNetStage(b, skip, dim, condition_dim, int(hints)) for b, skip, dim in zip(below, reversed(widths), dims)
        )
        self.predict = nn.Conv2d(dims[-1], 1, 1)

    def forward(
        self,
        maps: Sequence[Tensor],
        condition: Tensor,
        owner: Tensor | None = None,
        hint: Tensor | None = None,
        images: Tensor | None = None,
    ) -> Tensor:
        """
        Args:
            maps: (B, C, h, w), shallowest first. condition: (N, E) one prompt a mask.
            owner: (N,) int64, the image of each prompt; None: prompt i is about image i.
            hint: (N, h, w), which a decoder with hints needs. images: (B, 3, H, W), which one with pixels needs.

        Returns:
            (N, h·stride, w·stride) mask logits, with the (h, w) of the deepest map.

        Raises:
            ValueError: another number of maps than stages, or of prompts than images.
        """
        if (images is not None) != (self.stem is not None):
            raise ValueError(
                "This U-Net reads the image too." if self.stem is not None else "This U-Net does not read the image."
            )
        maps = maps if images is None else [self.stem(images), *maps]
        if len(maps) != len(self.stages):
            raise ValueError(f"The decoder reads {len(self.stages)} maps, not {len(maps)}.")
        if owner is None and len(condition) != len(maps[0]):
            raise ValueError(f"{len(condition)} prompts for {len(maps[0])} images, and no owner is given.")
        if (hint is not None) != self.hints:
            raise ValueError("This U-Net has hints, but is given none." if self.hints else "This U-Net takes no hints.")
        hint = hint[:, None] if hint is not None else None
        condition = self.condition_norm(condition)
        h, w = maps[-1].shape[-2:]
        x: Tensor | None = None
        for index, (skip, stage) in enumerate(zip(reversed(maps), self.stages)):
            times = min(2**index, self.stride)
            x = stage(x, skip, condition, (h * times, w * times), owner, hint)
        return _resize(self.predict(x), (h * self.stride, w * self.stride))[:, 0]
