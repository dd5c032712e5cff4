"""Image files that a visitor may bring: awkward ones, and ones that are none."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def png_of(width: int, height: int) -> bytes:
    """Return a PNG that says it is so large, and holds a few bytes: a decompression bomb."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def saved(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def plain(height: int = 60, width: int = 80, color: tuple[int, int, int] = (200, 40, 40)) -> bytes:
    return saved(Image.fromarray(np.full((height, width, 3), color, np.uint8)), "PNG")


GREY = np.linspace(0, 65535, 60 * 80).astype(np.uint16).reshape(60, 80)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>window.hacked = 1</script></svg>'

GOOD = {
    "sixteen.png": saved(Image.fromarray(GREY), "PNG"),
    "print.jpg": saved(Image.new("CMYK", (80, 60), (10, 200, 200, 10)), "JPEG"),
    "palette.gif": saved(Image.new("P", (80, 60), 3), "GIF"),
    "one.png": plain(1, 1),
}
BAD = {
    "bomb.png": png_of(60_000, 60_000),
    "notes.png": b"a text that is no image\n" * 20,
    "drawing.svg": SVG,
    "drawing.png": SVG,
    "half.png": plain()[:-30],
}
SENTENCES = {
    "bomb.png": "pixels",
    "notes.png": "no known image format",
    "drawing.svg": "no known image format",
    "drawing.png": "no known image format",
    "half.png": "truncated or damaged",
}
