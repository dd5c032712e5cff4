"""Label maps: images of one channel whose pixels hold the value of a class, in PNG, TIFF or any format Pillow reads."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ...reading import printable
from ..errors import DatasetError
from ..images.opening import MAX_PIXELS, open_image

LARGEST_VALUE = 65535
"""The largest value of a pixel; label maps have 8 or 16 bits."""

_MODES = frozenset(("1", "L", "P", "I", "I;16", "I;16L", "I;16B"))  # of a palette, the indices


def read_label_map(
    path: str | os.PathLike, expected_size: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Read the value of each pixel.

    Args:
        path: an image of one channel.
        expected_size: (H, W) in pixels, compared with the file's before it is decoded.
        max_pixels: number of pixels that it may have, where its size is not known.

    Returns:
        (H, W) int32 in [0, 65535].

    Raises:
        DatasetError: the file is missing, damaged, too large, not of the expected size, or has several channels.
    """
    image = open_image(path, "label map", size=expected_size, max_pixels=max_pixels)
    if image.mode not in _MODES:
        raise DatasetError(
            f"{printable(path)}: holds {image.mode} pixels, but a label map has one channel of 8 or 16 bits, with the "
            "value of a class at each pixel. Fix: convert its colors to values, and save it as PNG or TIFF."
        )
    values = np.asarray(image).astype(np.int32)
    if values.size and not 0 <= values.min() <= values.max() <= LARGEST_VALUE:
        raise DatasetError(
            f"{printable(path)}: has the value {values.min() if values.min() < 0 else values.max()}, but label maps "
            f"have values from 0 to {LARGEST_VALUE}. Fix: save it with 16 bits."
        )
    return values


def segments_of_labels(
    values: np.ndarray, classes: Sequence[Mapping], ignored: Collection[int], path: str | os.PathLike, *, complete: bool
) -> tuple[np.ndarray, list[Mapping]]:
    """Convert a label map to segment ids.

    Args:
        values: (H, W) values of classes.
        classes: the segment that each class would be, with its value + 1 as "id".
        ignored: values of pixels that belong to no class.
        path: of the label map, for messages.
        complete: require that each value is a class or ignored; False for records with deleted classes.

    Returns:
        (H, W) int32 segment ids, 0 where there is no class; and the segments that have a pixel.

    Raises:
        DatasetError: a value is neither a class nor ignored.
    """
    present = np.unique(values)
    of_value = {int(s["id"]) - 1: s for s in classes}
    unknown = [int(v) for v in present if int(v) not in of_value and int(v) not in ignored]
    if unknown and complete:
        some = ", ".join(map(str, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        raise DatasetError(
            f"{printable(path)}: the value {some} is no class, and not ignored. Fix: list its class, or name it under "
            "'ignore' in the dataset's YAML file."
        )
    known = np.isin(values, [v for v in present if int(v) in of_value])
    ids = np.where(known, values + 1, 0).astype(np.int32)
    return ids, [of_value[int(v)] for v in present if int(v) in of_value]
