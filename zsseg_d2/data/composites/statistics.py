"""Statistics of images: color channels, merged without rounding, and the edges of foregrounds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..images.reading import read_rgb
from .parts import read_foreground


@dataclass(frozen=True)
class ChannelStatistics:
    """Sums over pixels, which are whole numbers: merging them in any order gives the same result.

    Attributes:
        count: number of pixels.
        total: sum of the values of each channel, 0 to 255.
        squares: sum of their squares.
    """

    count: int = 0
    total: tuple[int, ...] = (0, 0, 0)
    squares: tuple[int, ...] = (0, 0, 0)

    @classmethod
    def of(cls, image: np.ndarray) -> ChannelStatistics:
        """Return the sums of an (H, W, 3) uint8 image."""
        histograms = [np.bincount(image[..., c].ravel(), minlength=256) for c in range(image.shape[-1])]
        levels = np.arange(256)
        total = tuple(int(h @ levels) for h in histograms)
        return cls(image.shape[0] * image.shape[1], total, tuple(int(h @ levels**2) for h in histograms))

    def __add__(self, other: ChannelStatistics) -> ChannelStatistics:
        """Merge the sums of two sets of images."""
        total = tuple(a + b for a, b in zip(self.total, other.total))
        return ChannelStatistics(
            self.count + other.count, total, tuple(a + b for a, b in zip(self.squares, other.squares))
        )

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel, in [0, 1]."""
        return tuple(total / (255 * self.count) for total in self.total)

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel over all pixels, in [0, 1]."""
        n = self.count
        return tuple(sqrt((n * s - t * t) / (n * n)) / 255 for t, s in zip(self.total, self.squares))


def merged(parts: Iterable[ChannelStatistics]) -> ChannelStatistics:
    """Merge the sums of several sets of images."""
    return sum(parts, ChannelStatistics())


def of_files(paths: Sequence[str | os.PathLike]) -> ChannelStatistics:
    """Return the sums of image files.

    Raises:
        DatasetError: a file is missing or damaged.
    """
    return merged(ChannelStatistics.of(read_rgb(path)) for path in paths)


class EdgeStatistics(NamedTuple):
    """Shares of a foreground's pixels, its box being the file.

    Attributes:
        covered: with alpha above one half.
        partial: partly transparent.
    """

    covered: float
    partial: float

    @classmethod
    def of(cls, alpha: np.ndarray) -> EdgeStatistics:
        """Return the shares of an (h, w) uint8 alpha channel."""
        return cls(float((alpha > 127).mean()), float(((alpha > 0) & (alpha < 255)).mean()))


def edges_of_files(paths: Sequence[str | os.PathLike], longer_side: int = 0) -> list[EdgeStatistics]:
    """Return the shares of each foreground.

    Args:
        paths: images with an alpha channel.
        longer_side: pixels to which foregrounds are resized before, as soft edges are wider in small ones; 0: not at
            all.

    Raises:
        DatasetError: a file is missing or damaged, or has no alpha channel.
    """
    return [EdgeStatistics.of(_resized(read_foreground(path)[..., 3], longer_side)) for path in paths]


def _resized(alpha: np.ndarray, longer_side: int) -> np.ndarray:
    if not longer_side:
        return alpha
    height, width = (max(1, round(length * longer_side / max(alpha.shape))) for length in alpha.shape)
    return np.asarray(Image.fromarray(alpha).resize((width, height), Image.Resampling.BILINEAR))
