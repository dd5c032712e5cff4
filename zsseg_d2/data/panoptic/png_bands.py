"""Encoding of label maps as PNG files, in bands of rows that are encoded apart, so that files can share bands.

Rows of labels mostly repeat the row above. The fixed filter "up" and run lengths are therefore smaller than zlib's own
level 1 and several times faster than Pillow; Huffman codes for each band are smaller again than one stream.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

BAND = 32  # rows: 1024x2048 pixels in 32 bands; with fewer rows, the codes of each band weigh more than they save
_UP, _LEFT = 2, 1  # PNG's filters: the difference, modulo 256, to the pixel above, or to the one before


@dataclass(frozen=True, slots=True)
class Band:
    """Some rows of an image, encoded independently of the others.

    Args:
        chunk: an IDAT chunk.
        adler: checksum of the bytes before compression.
        size: number of bytes before compression.
    """

    chunk: bytes
    adler: int
    size: int


def rgb_bytes(ids: np.ndarray) -> np.ndarray:
    """Convert (H, W) ids in [0, 256³ - 1] to (H, W, 3) uint8, R + 256 G + 256² B."""
    height, width = ids.shape
    words = np.ascontiguousarray(ids, dtype="<u4")
    # Pillow drops each fourth byte several times faster than NumPy does.
    packed = Image.frombuffer("RGBX", (width, height), words, "raw", "RGBX", 0, 1).tobytes("raw", "RGB")
    return np.frombuffer(packed, np.uint8).reshape(height, width, 3)


def encode_band(pixels: np.ndarray) -> Band:
    """Encode some rows.

    Args:
        pixels: (H, W) uint8 or uint16 for grey, (H, W, 3) uint8 for RGB.
    """
    height, step = len(pixels), pixels.itemsize * (3 if pixels.ndim == 3 else 1)
    rows = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder(">"), copy=False)).view(np.uint8)
    rows = rows.reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[0, 0], filtered[1:, 0] = _LEFT, _UP
    filtered[0, 1 : step + 1] = rows[0, :step]
    np.subtract(rows[0, step:], rows[0, :-step], out=filtered[0, step + 1 :])
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    content = filtered.data
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 8, zlib.Z_RLE)
    data = packer.compress(content) + packer.flush(zlib.Z_SYNC_FLUSH)  # ends on a whole byte
    return Band(_chunk(b"IDAT", data), zlib.adler32(content), filtered.size)


def join_bands(bands: Iterable[Band], height: int, width: int, *, bits: int, rgb: bool) -> bytes:
    """Join bands to a PNG file.

    Args:
        bands: from top to bottom.
        height: H of the image in pixels.
        width: W of the image in pixels.
        bits: 8 or 16 per sample.
        rgb: whether a pixel has three samples instead of one.
    """
    high, low = 0, 1  # the two halves of the checksum over all bands
    chunks = []
    for band in bands:
        band_high, band_low = divmod(band.adler, 65536)
        high = (high + band_high + band.size * (low - 1)) % 65521
        low = (low + band_low - 1) % 65521
        chunks.append(band.chunk)
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2 if rgb else 0, 0, 0, 0))
    zlib_header, last_block = b"\x78\x01", b"\x03\x00"
    end = _chunk(b"IDAT", last_block + struct.pack(">HH", high, low))
    return b"".join((b"\x89PNG\r\n\x1a\n", header, _chunk(b"IDAT", zlib_header), *chunks, end, _chunk(b"IEND", b"")))


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode (H, W) uint8 or uint16 grey, or (H, W, 3) uint8 RGB `pixels` as a PNG file."""
    height, width = pixels.shape[:2]
    bands = (encode_band(pixels[y : y + BAND]) for y in range(0, height, BAND))
    return join_bands(bands, height, width, bits=8 * pixels.itemsize, rgb=pixels.ndim == 3)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)))
