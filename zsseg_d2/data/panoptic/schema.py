"""The COCO panoptic JSON format as types, and the reader that checks files against them.

Fields that are not listed here are allowed and ignored.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec

from ...reading import explain
from ..errors import DatasetError

ImageId = int | str
Number = int | float


class ImageEntry(msgspec.Struct, gc=False):
    """An entry of "images". `height` and `width` are in pixels."""

    id: ImageId
    file_name: str | None = None
    height: int | None = None
    width: int | None = None


class SegmentEntry(msgspec.Struct, gc=False):
    """An entry of an annotation's "segments_info". `area` is in pixels, `bbox` is x, y, width, height."""

    id: int
    category_id: int
    iscrowd: int | bool
    area: Number
    bbox: list[Number]


class AnnotationEntry(msgspec.Struct, gc=False):
    """An entry of "annotations"; `file_name` is the panoptic PNG."""

    image_id: ImageId
    file_name: str
    segments_info: list[SegmentEntry]


class CategoryEntry(msgspec.Struct, gc=False):
    """An entry of "categories"."""

    id: int
    name: str


class PanopticFile(msgspec.Struct):
    """A whole panoptic JSON file."""

    images: list[ImageEntry]
    annotations: list[AnnotationEntry]
    categories: list[CategoryEntry]


_DECODER = msgspec.json.Decoder(PanopticFile)


def read_panoptic_json(path: Path, remedy: str) -> PanopticFile:
    """Read and check a panoptic JSON file.

    Args:
        path: the file.
        remedy: how to make the file, for messages.

    Returns:
        The checked content.

    Raises:
        DatasetError: the file is missing, is not JSON, or does not follow the format; the message names the field.
    """
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        return _DECODER.decode(content)
    except FileNotFoundError:
        raise DatasetError(f"The panoptic annotations {path} are missing; {remedy}.") from None
    except msgspec.ValidationError as error:
        raise DatasetError(f"{path}: {_explain(error, content)}; {remedy}.") from None
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise DatasetError(f"{path} is not valid JSON ({error}); {remedy}.") from error


def _explain(error: msgspec.ValidationError, content: bytes) -> str:
    """Return the message of an error that names the image by its id instead of by its position."""
    place, problem = explain(error)
    entry = re.match(r"(images|annotations)\[(\d+)\]\.?", place)
    if entry is None:
        return f"not in COCO panoptic format: '{place or 'the file'}' {problem}"
    image_id = _image_id(content, entry[1], int(entry[2]))
    field = place[entry.end() :]
    if image_id is None or not field:
        return f"'{place}' {problem}"
    return f"image id {image_id!r}: '{field}' {problem}"


def _image_id(content: bytes, part: str, position: int) -> ImageId | None:
    try:
        found = json.loads(content)[part][position].get("id" if part == "images" else "image_id")
    except (ValueError, AttributeError, TypeError, LookupError):
        return None
    return found if isinstance(found, int | str) else None
