"""Reading images with and without labels, by one rule for their EXIF orientation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ...reading import printable
from ..errors import DatasetError
from .opening import MAX_PIXELS, opened_image
from .pixels import to_rgb

if TYPE_CHECKING:
    from detectron2.config import CfgNode  # imports torch

EXIF_RULES = ("refuse", "apply", "ignore")
"""Values of INPUT.EXIF_ORIENTATION."""

EXIF_ORIENTATION = 0x0112
SIDEWAYS = 5
"""The first of the orientations that exchange height and width."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageRules:
    """How images with labels are read.

    Attributes:
        max_pixels: INPUT.MAX_PIXELS, the number of pixels that an image may have.
        exif: INPUT.EXIF_ORIENTATION: ``"refuse"`` images with an orientation, because their labels fit either the image
            as it is shown or as it is stored; ``"apply"`` it, or ``"ignore"`` it.
    """

    max_pixels: int = MAX_PIXELS
    exif: str = "refuse"

    def __post_init__(self) -> None:
        if self.exif not in EXIF_RULES:
            raise ValueError(f"INPUT.EXIF_ORIENTATION={self.exif}: Fix: choose one of {', '.join(EXIF_RULES)}.")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> ImageRules:
        """Read INPUT.MAX_PIXELS and INPUT.EXIF_ORIENTATION."""
        return cls(cfg.INPUT.MAX_PIXELS, cfg.INPUT.EXIF_ORIENTATION)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an opened image: 2 to 8, or 1 if it is shown as it is stored."""
    try:
        found = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF data are of no use, and Pillow's errors about them are of many types
        return 1
    return found if found in _UPRIGHT else 1


def read_rgb(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image without labels, of any mode, as it is shown.

    Args:
        path: the file.
        max_pixels: number of pixels that it may have.

    Returns:
        (H, W, 3) uint8 RGB, with the EXIF orientation applied.

    Raises:
        DatasetError: see :func:`zsseg_d2.data.images.opening.opened_image` and
            :func:`zsseg_d2.data.images.pixels.to_rgb`.
    """
    with opened_image(path, max_pixels=max_pixels) as image:
        return upright_rgb(image, printable(path))


def upright(image: Image.Image, turn: int) -> Image.Image:
    """Return an image as it is shown; `turn` is its EXIF orientation."""
    return image if turn == 1 else image.transpose(_UPRIGHT[turn])


def upright_rgb(image: Image.Image, name: str) -> np.ndarray:
    """Return the (H, W, 3) uint8 RGB pixels of an image of any mode, as it is shown.

    Args:
        image: an opened image, or one in memory.
        name: for messages.

    Raises:
        DatasetError: see :func:`zsseg_d2.data.images.pixels.to_rgb`.
    """
    rgb = to_rgb(image, name)
    turn = orientation(image)  # after decoding, because it may stand behind the pixels of a PNG
    return np.asarray(upright(rgb, turn))


def read_annotated_rgb(
    path: str | os.PathLike,
    size: tuple[int, int] | None,
    rules: ImageRules | None = None,
    *,
    source: str = "its annotation",
    resize: bool = False,
) -> np.ndarray:
    """Read an image with labels, of any mode, in the orientation in which it was labelled.

    Args:
        path: the file.
        size: (H, W) in pixels of the annotation; None: not known.
        rules: None: the defaults.
        source: what gives `size`, for messages.
        resize: resize an image of another size instead of refusing it.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DatasetError: as for :func:`read_rgb`; the image has an EXIF orientation and ``rules.exif`` is ``"refuse"``; or
            it has another size, which is compared before it is decoded.
    """
    rules, name = rules or ImageRules(), printable(path)
    with opened_image(path, max_pixels=rules.max_pixels) as image:
        stored = image.height, image.width
        if size is not None and not resize and tuple(size) not in (stored, stored[::-1]):
            raise _other_size(name, stored, size, source)
        rgb = to_rgb(image, name)
        turn = orientation(image)  # after decoding, because it may stand behind the pixels of a PNG
    if turn != 1 and rules.exif == "refuse":
        raise DatasetError(
            f"{name}: has the EXIF orientation {turn}, and its labels fit it either as it is shown or as it is "
            "stored. Fix: INPUT.EXIF_ORIENTATION apply (as it is shown) or ignore (as it is stored)."
        )
    if turn != 1 and rules.exif == "apply":
        rgb = rgb.transpose(_UPRIGHT[turn])
    found = rgb.height, rgb.width
    if size is not None and found != tuple(size):
        if not resize:
            exif = f" (its EXIF orientation is {turn}; INPUT.EXIF_ORIENTATION is {rules.exif})" if turn != 1 else ""
            raise _other_size(name, found, size, source, exif)
        rgb = rgb.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(rgb)


def annotated_size(path: str | os.PathLike, rules: ImageRules) -> tuple[int, int]:
    """Return (H, W) in pixels of what :func:`read_annotated_rgb` reads, from the file's header where that is enough.

    Raises:
        DatasetError: see :func:`zsseg_d2.data.images.opening.opened_image`.
    """
    with opened_image(path, max_pixels=rules.max_pixels, checked=False) as image:
        sideways = rules.exif == "apply" and orientation(image) >= SIDEWAYS
        return (image.width, image.height) if sideways else (image.height, image.width)


def _other_size(name: str, found: tuple[int, int], size: tuple[int, int], source: str, exif: str = "") -> DatasetError:
    return DatasetError(
        f"{name} is {found[1]}x{found[0]} pixels{exif}, but {source} says {size[1]}x{size[0]} (width x height); "
        "image and annotation must come from the same dataset."
    )
