"""Panoptic PNG files: each pixel holds the id of its segment as R + 256 G + 256² B; 0 is void."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping

import numpy as np

from ...files import atomic_path
from ...reading import printable
from ..errors import DatasetError
from ..images.opening import MAX_PIXELS, open_image
from .png_bands import encode_png, rgb_bytes

MAX_SEGMENT_ID = 256**3 - 1
logger = logging.getLogger(__name__)


def read_panoptic_png(
    path: str | os.PathLike, expected_size: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Read the segment id of each pixel.

    Args:
        path: an 8-bit RGB PNG.
        expected_size: (H, W) in pixels, compared with the file's before it is decoded.
        max_pixels: number of pixels that it may have, where its size is not known.

    Returns:
        (H, W) int32 segment ids; 0 = void.

    Raises:
        DatasetError: the file is missing, truncated, damaged, not RGB, too large, or not of the expected size.
    """
    image = open_image(path, "panoptic PNG", size=expected_size, max_pixels=max_pixels)
    if image.mode != "RGB":
        raise DatasetError(
            f"{path} holds {image.mode} pixels, but a panoptic PNG is 8-bit RGB (id = R + 256 G + 256² B); "
            "make the panoptic PNGs again."
        )
    # Pillow keeps RGB in four bytes a pixel, so this is one copy where three planes would need many passes.
    packed = np.frombuffer(image.tobytes("raw", "RGBX"), dtype="<i4")
    return (packed & MAX_SEGMENT_ID).reshape(image.height, image.width)


def write_panoptic_png(path: str | os.PathLike, ids: np.ndarray) -> None:
    """Write segment ids as a panoptic PNG, whole or not at all.

    Args:
        path: where to; its folder must exist.
        ids: (H, W) integers in [0, 256³ - 1].
    """
    write_png(path, rgb_bytes(ids))


def write_png(path: str | os.PathLike, pixels: np.ndarray) -> None:
    """Write a label map as a PNG, whole or not at all.

    Args:
        path: where to; its folder must exist.
        pixels: (H, W) uint8 or uint16 for grey, (H, W, 3) uint8 for RGB.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_png(pixels))


def segment_pixels(ids: np.ndarray) -> dict[int, int]:
    """Count the pixels of each id in (H, W) `ids`."""
    # By runs of equal neighbors, which are far fewer than pixels.
    values, lengths = run_lengths(ids)
    present, inverse = np.unique(values, return_inverse=True)
    pixels = np.bincount(inverse, weights=lengths, minlength=len(present))
    return {int(i): int(n) for i, n in zip(present, pixels)}


def run_lengths(*maps: np.ndarray) -> tuple[np.ndarray, ...]:
    """Find the runs of pixels, row after row, along which every map is constant.

    Args:
        maps: one or more (H, W) arrays of one shape.

    Returns:
        (R,) the value of each map in each run, and last (R,) int64 the length of each run.
    """
    flat = [np.ascontiguousarray(m).reshape(-1) for m in maps]
    size = flat[0].size
    if size == 0:
        return (*(f[:0] for f in flat), np.zeros(0, np.int64))
    change = flat[0][1:] != flat[0][:-1]
    for f in flat[1:]:
        change |= f[1:] != f[:-1]
    starts = np.concatenate(([0], np.flatnonzero(change) + 1))
    return (*(f[starts] for f in flat), np.diff(starts, append=size))


def check_segments(
    ids: np.ndarray, segments_info: Iterable[Mapping], path: str | os.PathLike, *, complete: bool = True
) -> None:
    """Compare the segments of a PNG with those of the JSON.

    An area that is not the number of pixels is a warning, once for each folder: pixels count in this package, but other
    programs trust the area.

    Args:
        ids: (H, W) segment ids, as :func:`read_panoptic_png` returns them.
        segments_info: the image's segments, each with "id", and "area" where it is known. One that is "overpainted" may
            have fewer pixels, or none.
        path: the PNG, for messages.
        complete: also require that each id of the PNG is in the JSON; False for records with deleted classes.

    Raises:
        DatasetError: an id is in the JSON but not in the PNG, or the reverse.
    """
    pixels = segment_pixels(ids)
    present = set(pixels) - {0}
    segments = list(segments_info)
    areas = {int(s["id"]): s.get("area") for s in segments if not s.get("overpainted")}
    covered = {int(s["id"]) for s in segments} - set(areas)
    listed = set(areas) | (covered & present)
    for problem, found in (
        ("in the JSON but not in the PNG", listed - present),
        ("in the PNG but not in the JSON", (present - listed) if complete else set()),
    ):
        if found:
            some = ", ".join(map(str, sorted(found)[:5])) + (", …" if len(found) > 5 else "")
            raise DatasetError(
                f"{path}: segment id {some} is {problem}; the two do not belong together, so make both again "
                "with one run of the dataset's panoptic preparation."
            )
    for number, area in areas.items():
        if area is not None and area != pixels[number]:
            _warn_of_area(os.path.dirname(path), f"{path}: segment {number} has 'area' {area}", pixels[number])
            break


_WARNED: set[str] = set()


def _warn_of_area(folder: str, place: str, pixels: int) -> None:
    if folder not in _WARNED:
        _WARNED.add(folder)
        logger.warning(
            "%s in the JSON, but %d pixels in the PNG. Pixels count here, but other programs use the area. "
            "Fix: make JSON and PNG again with one run of the dataset's panoptic preparation.",
            printable(place),
            pixels,
        )
