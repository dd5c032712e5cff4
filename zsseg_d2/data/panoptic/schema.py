"""The COCO panoptic JSON format as types, and the reader that checks files against them.

Fields that are not listed here are allowed and ignored.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from ...reading import BOM, JSON_LIMIT, UnusableFile, explain, read_bytes
from ..errors import DatasetError

ImageId = int | str
Number = int | float
Area = Annotated[int, msgspec.Meta(ge=0)] | Annotated[float, msgspec.Meta(ge=0, le=2**31)]
Flag = Literal[0, 1] | bool


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
    iscrowd: Flag
    area: Area
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
    isthing: Flag | None = None


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
        DatasetError: the file is missing, not a regular file, too large, not JSON, or does not follow the format; the
            message names the field.
    """
    try:
        content = read_bytes(path, JSON_LIMIT).removeprefix(BOM)
        return _DECODER.decode(content)
    except FileNotFoundError:
        raise DatasetError(f"The panoptic annotations {path} are missing; {remedy}.") from None
    except msgspec.ValidationError as error:
        raise DatasetError(f"{path}: {_explain(error, content)}; {remedy}.") from None
    except UnusableFile as error:
        raise DatasetError(str(error)) from None
    except RecursionError:
        raise DatasetError(f"{path} is not valid JSON (nested too deeply); {remedy}.") from None
    except (ValueError, msgspec.MsgspecError) as error:
        raise DatasetError(f"{path} is not valid JSON ({error}); {remedy}.") from None


def _explain(error: msgspec.ValidationError, content: bytes) -> str:
    """Return the message of an error that names the image by its id instead of by its position."""
    place, problem = explain(error)
    if place.endswith(("iscrowd", "isthing")) and "missing" not in problem:
        problem = "is neither 0 nor 1"
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
