"""A decoded label map that is written several times with some of its labels replaced."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ...files import atomic_path
from ..panoptic.png import run_lengths
from ..panoptic.png_bands import BAND, Band, encode_band, join_bands, rgb_bytes


class RelabelledMap:
    """A label map and the files written from it.

    Bands of rows that agree are encoded once for all files. If nothing is replaced, the file is the source's, byte for
    byte.

    Args:
        path: the file of the label map.
        values: (H, W) integers >= 0, its content.
        copies: whether the file has the format to write, so that its bytes can be copied.
    """

    def __init__(self, path: str | os.PathLike, values: np.ndarray, *, copies: bool = True) -> None:
        self._path = Path(path) if copies else None
        self._height, self._width = values.shape
        self._runs = [run_lengths(values[y : y + BAND]) for y in range(0, self._height, BAND)]
        self._present = [np.unique(labels) for labels, _ in self._runs]
        self._encoded: dict[tuple[int, bytes], Band] = {}
        self._content: bytes | None = None

    def write(self, path: str | os.PathLike, table: np.ndarray) -> None:
        """Write ``table[values]`` as a PNG, whole or not at all. Never a link, so that files can be edited one by one.

        Args:
            path: where to; its folder must exist.
            table: (V,) the new value of each value; uint8 or uint16 for grey, int32 for panoptic ids (RGB).
        """
        if self._path is not None and all(np.array_equal(table[present], present) for present in self._present):
            self._content = self._content or self._path.read_bytes()
            content = self._content
        else:
            content = self._png(table)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)

    def _png(self, table: np.ndarray) -> bytes:
        rgb = table.dtype == np.int32
        bands = []
        for number, ((labels, lengths), present) in enumerate(zip(self._runs, self._present)):
            key = number, table[present].tobytes()  # its length differs by type
            if key not in self._encoded:
                # By runs, which is several times faster than by pixels.
                pixels = np.repeat(table[labels], lengths).reshape(-1, self._width)
                self._encoded[key] = encode_band(rgb_bytes(pixels) if rgb else pixels)
            bands.append(self._encoded[key])
        return join_bands(bands, self._height, self._width, bits=8 if rgb else 8 * table.itemsize, rgb=rgb)
