"""Opening image files: regular ones of a bounded size only, with checked PNG data."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from PIL import Image

from ...reading import MB, UnusableFile, open_regular, printable
from ..errors import DatasetError

MAX_PIXELS = 50_000_000
"""Default of INPUT.MAX_PIXELS: pixels of the largest image that is decoded."""
LARGEST_MAX_PIXELS = 178_000_000
"""The largest INPUT.MAX_PIXELS; above, Pillow refuses to open an image."""

_BYTES_PER_PIXEL = 8  # of an uncompressed file: four channels of 16 bits
_NEEDS_PROGRAM = frozenset({"EPS"})  # Pillow would start Ghostscript, which runs the file
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BLOCK = MB
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


@contextmanager
def opened_image(
    path: str | os.PathLike,
    kind: str = "image",
    *,
    max_pixels: int = MAX_PIXELS,
    size: tuple[int, int] | None = None,
    checked: bool = True,
) -> Iterator[Image.Image]:
    """Open an image without decoding its pixels; errors of decoding it inside the context are translated too.

    Args:
        path: the file.
        kind: the word for it in messages.
        max_pixels: number of pixels that it may have.
        size: (H, W) in pixels that it must have, in place of `max_pixels`.
        checked: whether the checksums of a PNG are compared, for which the whole file is read.

    Yields:
        The image, whose header is read.

    Raises:
        DatasetError: the file is missing, not a regular file, too large, damaged, or not of `size`.
    """
    name = printable(path)
    try:
        with open_regular(path, limit=_BYTES_PER_PIXEL * _area(size, max_pixels) + 64 * MB) as file:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is ours
                image = Image.open(file, formats=_formats())
            with image:
                _check_size(name, (image.height, image.width), size, max_pixels)
                if checked and image.format == "PNG":
                    _check_png(file)
                yield image
    except DatasetError:
        raise
    except FileNotFoundError:
        raise DatasetError(f"The {kind} {name} is missing; restore it from its dataset.") from None
    except UnusableFile as error:
        raise DatasetError(str(error)) from None
    except Image.UnidentifiedImageError:
        raise DatasetError(
            f"The {kind} {name} is truncated or damaged (no known image format); restore it or make it again."
        ) from None
    except _DAMAGED as error:
        raise DatasetError(
            f"The {kind} {name} is truncated or damaged ({printable(error)}); restore it or make it again."
        ) from error


def open_image(
    path: str | os.PathLike,
    kind: str = "image",
    *,
    max_pixels: int = MAX_PIXELS,
    size: tuple[int, int] | None = None,
) -> Image.Image:
    """Open and decode an image; see :func:`opened_image`."""
    with opened_image(path, kind, max_pixels=max_pixels, size=size) as image:
        image.load()
        return image


def _formats() -> list[str]:
    Image.init()
    return [name for name in Image.OPEN if name not in _NEEDS_PROGRAM]


def _area(size: tuple[int, int] | None, max_pixels: int) -> int:
    return max_pixels if size is None else max(max_pixels, size[0] * size[1])


def _check_size(name: str, found: tuple[int, int], wanted: tuple[int, int] | None, max_pixels: int) -> None:
    (height, width) = found
    if wanted is not None and tuple(wanted) != found:
        raise DatasetError(
            f"{name} is {width}x{height} pixels, but its image is {wanted[1]}x{wanted[0]} (width x height); "
            "image, JSON and PNG must come from the same dataset."
        )
    if wanted is None and height * width > max_pixels:
        raise DatasetError(
            f"{name} has {width}x{height} = {width * height:,} pixels, and at most {max_pixels:,} are decoded. "
            f"Fix: make it smaller, or raise INPUT.MAX_PIXELS (at most {LARGEST_MAX_PIXELS:,})."
        )


def _check_png(file: IO[bytes]) -> None:
    """Compare the checksum of every chunk, which Pillow does not do for those of the pixels.

    Args:
        file: of a PNG; its position is kept.

    Raises:
        ValueError: a checksum is wrong, or the file ends too early.
    """
    before = file.tell()
    file.seek(len(_PNG_SIGNATURE))
    kind = b""
    while kind != b"IEND":
        start = file.tell()
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("it ends before its last chunk")
        length, kind = struct.unpack(">I4s", head)
        checksum = zlib.crc32(kind)
        while length:
            block = file.read(min(length, _BLOCK))
            if not block:
                raise ValueError(f"it ends inside the chunk at byte {start}")
            checksum, length = zlib.crc32(block, checksum), length - len(block)
        if file.read(4) != struct.pack(">I", checksum):
            raise ValueError(f"the checksum of the chunk at byte {start} is wrong")
    file.seek(before)
