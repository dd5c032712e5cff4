"""Augmentations of training and test images. All random numbers come from ``numpy.random``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import detectron2.data.transforms as T
import numpy as np
from detectron2.config import CfgNode
from PIL import Image

VOID_CATEGORY = 255
"""Void in the category map by which crops limit the area of a class."""


class _AtLeastOnePixel(T.Augmentation):
    """Keep a side of one pixel where a strip's short side would be rounded to none."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        found = super().get_transform(image)
        if isinstance(found, T.ResizeTransform) and not min(found.new_h, found.new_w):
            return T.ResizeTransform(found.h, found.w, max(found.new_h, 1), max(found.new_w, 1), found.interp)
        return found


class ResizeShortestEdge(_AtLeastOnePixel, T.ResizeShortestEdge):
    """Resize the short side, with a limit for the long one; neither becomes shorter than a pixel."""


class ResizeScale(_AtLeastOnePixel, T.ResizeScale):
    """Resize by a random factor, relative to a target size; no side becomes shorter than a pixel."""


class _Crop(T.RandomCrop):
    """Crop at least one pixel, where a relative crop of a strip would be rounded to none."""

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        height, width = super().get_crop_size(image_size)
        return max(height, 1), max(width, 1)


class CategoryAreaCrop(T.RandomCrop_CategoryAreaConstraint):
    """Crop at random, again while one class fills too much of the crop; at least one pixel."""

    def __init__(self, crop_type: str, crop_size: Sequence[float], max_area: float, ignored: int) -> None:
        super().__init__(crop_type, crop_size, max_area, ignored)
        self.crop_aug = _Crop(crop_type, crop_size)


def test_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """Resize the short side to INPUT.MIN_SIZE_TEST, with the long side at most INPUT.MAX_SIZE_TEST."""
    return [ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)]


test_augmentations.__test__ = False  # type: ignore[attr-defined]  # its name looks like a test to pytest


def resize_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """Resize by the short side, crop, distort colors and flip, in Mask2Former's order."""
    settings = cfg.INPUT
    found: list[T.Augmentation] = [
        ResizeShortestEdge(settings.MIN_SIZE_TRAIN, settings.MAX_SIZE_TRAIN, settings.MIN_SIZE_TRAIN_SAMPLING)
    ]
    if settings.CROP.ENABLED:
        found.append(
            CategoryAreaCrop(
                settings.CROP.TYPE, settings.CROP.SIZE, settings.CROP.SINGLE_CATEGORY_MAX_AREA, VOID_CATEGORY
            )
        )
    return found + _color(cfg) + _flip(cfg)


def jitter_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """Flip, resize by a wide range of factors and crop to INPUT.IMAGE_SIZE: large-scale jitter (Ghiasi et al. 2021)."""
    settings = cfg.INPUT
    side = settings.IMAGE_SIZE
    resize = ResizeScale(settings.MIN_SCALE, settings.MAX_SCALE, side, side)
    return [*_flip(cfg), resize, T.RandomCrop("absolute", (side, side)), *_color(cfg)]


def _flip(cfg: CfgNode) -> list[T.Augmentation]:
    direction = cfg.INPUT.RANDOM_FLIP
    if direction == "none":
        return []
    return [T.RandomFlip(horizontal=direction == "horizontal", vertical=direction == "vertical")]


def _color(cfg: CfgNode) -> list[T.Augmentation]:
    return [ColorJitter()] if cfg.INPUT.COLOR_AUG_SSD else []


class ColorJitter(T.Augmentation):
    """Apply SSD's photometric distortion (Liu et al. 2016).

    Brightness changes by up to ±32, contrast and saturation by factors in [0.5, 1.5], hue by up to ±36°. Each is
    applied with probability 1/2; contrast comes before or after the other two.
    """

    def get_transform(self, image: np.ndarray) -> T.Transform:
        on = np.random.rand(5) < 0.5
        brightness, hue = np.random.uniform(-32, 32), np.random.uniform(-0.1, 0.1)
        contrast, saturation = np.random.uniform(0.5, 1.5, 2)
        return T.ColorTransform(
            partial(
                jitter_color,
                brightness=brightness * on[0],
                contrast=contrast if on[1] else 1.0,
                saturation=saturation if on[2] else 1.0,
                hue=hue * on[3],
                contrast_last=bool(on[4]),
            )
        )


def jitter_color(
    image: np.ndarray, *, brightness: float, contrast: float, saturation: float, hue: float, contrast_last: bool
) -> np.ndarray:
    """Distort colors.

    Args:
        image: (H, W, 3) uint8 RGB.
        brightness: added to every channel.
        contrast: factor of every channel.
        saturation: factor of HSV's S.
        hue: added to HSV's H, as a fraction of the circle.
        contrast_last: apply contrast after saturation and hue.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    image = np.clip((image + brightness) * (1.0 if contrast_last else contrast), 0, 255).astype(np.uint8)
    if saturation != 1.0 or hue != 0.0:
        h, s, v = np.moveaxis(np.asarray(Image.fromarray(image).convert("HSV")), -1, 0)
        h = np.mod(h.astype(np.int16) + round(hue * 256), 256).astype(np.uint8)
        s = np.clip(s * saturation, 0, 255).astype(np.uint8)
        image = np.asarray(Image.fromarray(np.stack((h, s, v), -1), "HSV").convert("RGB"))
    return np.clip(image * contrast, 0, 255).astype(np.uint8) if contrast_last else image
