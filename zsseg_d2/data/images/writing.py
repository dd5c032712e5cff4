"""Images to bytes."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image


def encode_image(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Encode an image in memory.

    Pillow does not notice if a file takes only the beginning of a JPEG, as on a full disk; Python's own writing does.

    Args:
        image: in a mode that the format has.
        kind: Pillow's name of a format, such as "JPEG".
        options: of the format.
    """
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
