"""Paired augmentation: one geometry for composite, background, mask and depth.

All random numbers come from ``numpy.random``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from .depth import METRIC

if TYPE_CHECKING:
    from detectron2.config import CfgNode  # imports torch


class Pair(NamedTuple):
    """Two inputs and two targets of one size.

    Attributes:
        image: (H, W, 3) uint8 RGB, the composite.
        background: (H, W, 3) uint8 RGB.
        mask: (H, W) bool.
        depth: (H, W) float32, or None.
        depth_kind: "metric", "relative" or "none".
    """

    image: np.ndarray
    background: np.ndarray
    mask: np.ndarray
    depth: np.ndarray | None
    depth_kind: str


@dataclass(frozen=True)
class Augmentation:
    """A random square of the canvas, resized to it, and a mirror.

    Attributes:
        crop: smallest side of the square, as a share of the canvas; 1: no crop.
        mirror: probability of a mirror.
    """

    crop: float = 1.0
    mirror: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1 or not 0 <= self.mirror <= 1:
            raise ValueError("crop must be in (0, 1], and mirror in [0, 1].")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Augmentation:
        """Read INPUT.COMPOSITES.AUGMENT."""
        return cls(cfg.INPUT.COMPOSITES.AUGMENT.CROP, cfg.INPUT.COMPOSITES.AUGMENT.MIRROR)

    def __call__(self, pair: Pair) -> Pair:
        """Transform inputs and targets alike.

        An enlarged view has metric depth that is smaller in proportion, as of a camera that is nearer (Eigen et al.
        2014, Depth Map Prediction from a Single Image, section 3.3). Mask and depth take values, and never mix them.
        """
        if self.crop < 1:
            pair = cropped(pair, *self._square(pair.mask.shape))
        if self.mirror and np.random.random() < self.mirror:
            depth = None if pair.depth is None else pair.depth[:, ::-1]
            pair = Pair(pair.image[:, ::-1], pair.background[:, ::-1], pair.mask[:, ::-1], depth, pair.depth_kind)
        return pair

    def _square(self, canvas: tuple[int, ...]) -> tuple[int, int, int]:
        """Draw the first row, the first column and the side of a square."""
        least = max(1, round(self.crop * min(canvas)))
        side = np.random.randint(least, min(canvas) + 1)
        return np.random.randint(0, canvas[0] - side + 1), np.random.randint(0, canvas[1] - side + 1), side


def cropped(pair: Pair, top: int, left: int, side: int) -> Pair:
    """Cut out a square, and resize it to the size that the pair had."""
    height, width = pair.mask.shape
    box = (left, top, left + side, top + side)

    def resized(pixels: np.ndarray, how: Image.Resampling) -> np.ndarray:
        return np.asarray(Image.fromarray(pixels).resize((width, height), how, box=box))

    depth = None if pair.depth is None else resized(pair.depth, Image.Resampling.NEAREST)
    if depth is not None and pair.depth_kind == METRIC:
        depth = depth * np.float32(side / height)
    return Pair(
        resized(pair.image, Image.Resampling.BILINEAR),
        resized(pair.background, Image.Resampling.BILINEAR),
        resized(pair.mask.astype(np.uint8), Image.Resampling.NEAREST) > 0,
        depth,
        pair.depth_kind,
    )
