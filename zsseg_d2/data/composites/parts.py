"""The parts of composites: RGBA foregrounds, backgrounds, and the depth of both, from folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ...reading import printable
from ..errors import DatasetError
from ..images.opening import opened_image
from ..images.reading import orientation, read_rgb, upright
from .depth import DepthFormat, read_depth

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"))
"""Endings of image files, in small letters."""
_DEPTH_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".pgm")


@dataclass(frozen=True)
class Part:
    """A foreground or a background: its image and, if there is depth, its depth map."""

    image: Path
    depth: Path | None = None


@dataclass(frozen=True)
class Parts:
    """What composites of a split are made of.

    Attributes:
        foregrounds: with an alpha channel.
        backgrounds: images without labels.
        depth: what the values of depth maps mean; None: there are none.
        native_side: side in pixels of the canvas on which a foreground in its own size is as far away as its depth map
            says; on the canvas it is then as far as its size there tells. 0: depth stays as it is at every size.
    """

    foregrounds: tuple[Part, ...]
    backgrounds: tuple[Part, ...]
    depth: DepthFormat | None = None
    native_side: int = field(default=0)


def find_parts(
    foregrounds: str | os.PathLike,
    backgrounds: str | os.PathLike,
    foreground_depth: str | os.PathLike | None = None,
    background_depth: str | os.PathLike | None = None,
    depth: DepthFormat | None = None,
    native_side: int = 0,
) -> Parts:
    """List the files of folders, in the order of their names.

    Args:
        foregrounds: folder of images with an alpha channel.
        backgrounds: folder of images.
        foreground_depth: folder of depth maps, each with the name of its foreground, whatever the ending.
        background_depth: the same for backgrounds.
        depth: what the values of depth maps mean.
        native_side: see :class:`Parts`.

    Raises:
        DatasetError: a folder is missing or empty, an image has no depth map, or only one of the folders is given.
    """
    if (foreground_depth is None) != (background_depth is None):
        given, missing = ("foregrounds", "backgrounds") if background_depth is None else ("backgrounds", "foregrounds")
        raise DatasetError(f"There is a folder with the depth of {given}, and none of {missing}. Fix: give both.")
    if foreground_depth is None:
        depth = None
    return Parts(
        _listed(Path(foregrounds), "foregrounds", foreground_depth),
        _listed(Path(backgrounds), "backgrounds", background_depth),
        (depth or DepthFormat()) if foreground_depth is not None else None,
        native_side,
    )


def _listed(folder: Path, what: str, depth: str | os.PathLike | None) -> tuple[Part, ...]:
    images = image_files(folder, what)
    if depth is None:
        return tuple(map(Part, images))
    maps = {path.stem: path for path in reversed(image_files(Path(depth), f"depth of {what}", _DEPTH_SUFFIXES))}
    missing = [path.name for path in images if path.stem not in maps]
    if missing:
        raise DatasetError(
            f"{printable(depth)}: has no depth map for {len(missing)} of {len(images)} {what}, such as "
            f"{printable(missing[0])}. Fix: add maps with the names of their images."
        )
    return tuple(Part(path, maps[path.stem]) for path in images)


def image_files(folder: Path, what: str, suffixes: Iterable[str] = SUFFIXES) -> list[Path]:
    """Return the images of a folder, in the order of their names.

    Raises:
        DatasetError: there is no such folder, or no image in it.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise DatasetError(
            f"{printable(folder)}: the folder of {what} cannot be read ({error.strerror}). Fix: check its path."
        ) from None
    found = [folder / name for name in names if Path(name).suffix.lower() in set(suffixes) and name[0] != "."]
    if not found:
        raise DatasetError(f"{printable(folder)}: has no image ({what}). Fix: name a folder with PNG or JPEG files.")
    return found


def read_foreground(path: str | os.PathLike) -> np.ndarray:
    """Read an image with an alpha channel, as it is shown.

    Returns:
        (h, w, 4) uint8 RGBA, alpha not multiplied in.

    Raises:
        DatasetError: the file is missing or damaged, has no alpha channel, or no pixel with alpha above one half.
    """
    name = printable(path)
    with opened_image(path, "foreground") as image:
        if "A" not in image.getbands() and "a" not in image.getbands() and "transparency" not in image.info:
            raise DatasetError(
                f"{name}: has no alpha channel (it is of mode {image.mode}). Fix: cut the object out and save it as "
                "an RGBA PNG."
            )
        straight = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        rgba = np.asarray(upright(straight, orientation(image)))
    if rgba[..., 3].max() <= 127:
        raise DatasetError(
            f"{name}: no pixel has an alpha above one half (the largest is {rgba[..., 3].max()} of 255), so its mask "
            "would be empty. Fix: leave it out, or save it with its alpha channel."
        )
    return rgba


def read_background(path: str | os.PathLike, side: int) -> np.ndarray:
    """Read the largest square in the middle of an image, resized to (side, side, 3) uint8 RGB.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    return square(read_rgb(path), side, Image.Resampling.BILINEAR)


def read_background_depth(part: Part, format: DepthFormat, side: int) -> np.ndarray:
    """Read the same square of a background's depth map, as (side, side) float32; values are taken, never mixed.

    Raises:
        DatasetError: see :func:`zsseg_d2.data.composites.depth.read_depth`.
    """
    assert part.depth is not None
    with opened_image(part.image) as image:
        turned = orientation(image) >= 5
        size = (image.width, image.height) if turned else (image.height, image.width)
    return square(read_depth(part.depth, format, size), side, Image.Resampling.NEAREST)


def square(pixels: np.ndarray, side: int, how: Image.Resampling) -> np.ndarray:
    """Resize the largest square in the middle of an image.

    Args:
        pixels: (H, W, 3) uint8, or (H, W) float32.
        side: height and width of the result.
        how: Pillow's filter.
    """
    height, width = pixels.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    cut = pixels[top : top + short, left : left + short]
    return cut if short == side else np.asarray(Image.fromarray(np.ascontiguousarray(cut)).resize((side, side), how))


def names(parts: Sequence[Part]) -> list[str]:
    """Return the names of images without their endings."""
    return [part.image.stem for part in parts]
