"""PhraseCut's polygons in compact form, and their masks by the rule of the official tools.

The rule (``utils/data_transfer.py`` of ChenyunWu/PhraseCutDataset): polygons with fewer than two points are skipped,
coordinates are truncated to integers, every other polygon is drawn with its border by ``PIL.ImageDraw``, and a mask is
the union of what is drawn. The square (2, 2)-(6, 6) therefore has 25 pixels, where COCO's rule gives it 16.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from PIL import Image, ImageDraw

Nested = Sequence[Sequence[Sequence[Sequence[float]]]]
"""[instance][polygon][point][x, y] in pixels of the original image, as in the JSON."""

LIMIT = 32_767
"""Larger coordinates are clipped to this: it is far outside any image, and two bytes hold it."""


@dataclass(frozen=True, slots=True)
class Polygons:
    """The polygons of one phrase as three byte strings; hundreds of thousands fit into memory and pickle fast.

    Args:
        points: int16 x, y of all polygons, truncated.
        lengths: uint32 number of points of each polygon.
        instances: uint32 number of polygons of each instance.
    """

    points: bytes
    lengths: bytes
    instances: bytes

    def __iter__(self) -> Iterator[np.ndarray]:
        """Iterate over the polygons, each (P, 2) int16 x, y."""
        points = np.frombuffer(self.points, np.int16).reshape(-1, 2)
        ends = np.cumsum(np.frombuffer(self.lengths, np.uint32), dtype=np.int64)
        return iter(np.split(points, ends[:-1]) if len(ends) else [])

    @property
    def num_instances(self) -> int:
        """Instances that the phrase refers to."""
        return len(self.instances) // 4

    def by_instance(self) -> list[list[np.ndarray]]:
        """[instance][polygon] (P, 2) int16 x, y."""
        polygons = iter(self)
        return [[next(polygons) for _ in range(count)] for count in np.frombuffer(self.instances, np.uint32)]

    def mask(self, height: int, width: int) -> np.ndarray:
        """Draw the union of all polygons as (height, width) bool; parts outside are cut off."""
        return draw_polygons(self, height, width)

    def outside(self, height: int, width: int) -> int:
        """Count the polygons that reach beyond the rectangle (0, 0)-(width, height)."""
        return sum(bool((p < 0).any() or (p > (width, height)).any()) for p in self)

    def is_empty(self, height: int, width: int) -> bool:
        """Return whether the mask has no pixel."""
        for polygon in self:
            x, y = polygon.T
            # Borders are drawn, so a corner inside the image is a pixel of the mask.
            if len(polygon) > 1 and ((x >= 0) & (y >= 0) & (x < width) & (y < height)).any():
                return False
        return not self.mask(height, width).any()


def pack_polygons(nested: Nested) -> Polygons:
    """Pack the polygons of a phrase, truncated to integers.

    Raises:
        ValueError: they are not nested as [instance][polygon][point][x, y], or a number is NaN or infinite.
    """
    try:
        instances = array("I", map(len, nested))
        polygons = list(chain.from_iterable(nested))
        lengths = array("I", map(len, polygons))
        points = list(chain.from_iterable(polygons))
        well_formed = not isinstance(nested, (str, dict)) and set(map(len, points)) <= {2}
        numbers = array("d", chain.from_iterable(points))
    except (TypeError, ValueError, OverflowError):
        well_formed = False
    if not well_formed:
        raise ValueError("polygons that are not nested as [instance][polygon][point][x, y]")
    try:
        truncated = array("h", map(int, numbers)).tobytes()
    except (ValueError, OverflowError):  # not finite, or too large for two bytes
        if not np.isfinite(numbers).all():
            raise ValueError("a polygon with NaN or infinite numbers") from None
        truncated = np.clip(np.trunc(numbers), -LIMIT, LIMIT).astype(np.int16).tobytes()
    return Polygons(truncated, lengths.tobytes(), instances.tobytes())


def polygons_to_mask(nested: Nested, height: int, width: int) -> np.ndarray:
    """Draw polygons as in the JSON as a (height, width) bool mask.

    Raises:
        ValueError: see :func:`pack_polygons`.
    """
    return pack_polygons(nested).mask(height, width)


def draw_polygons(polygons: Polygons | Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Draw the union of (P, 2) integer polygons by the official rule, as (height, width) bool."""
    canvas = Image.new("L", (width, height))
    ink = ImageDraw.Draw(canvas)
    for polygon in polygons:
        if len(polygon) > 1:
            ink.polygon(polygon.ravel().tolist(), outline=1, fill=1)
    return np.asarray(canvas) > 0
