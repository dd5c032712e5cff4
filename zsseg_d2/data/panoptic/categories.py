"""The classes of a panoptic dataset as its files know them."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PanopticCategory:
    """A class of a panoptic dataset; its position in the list of categories is its contiguous id.

    Args:
        id: category id in the files (label id in Cityscapes).
        name: name in the files.
        isthing: whether instances are told apart.
        color: RGB, each in [0, 255].
    """

    id: int
    name: str
    isthing: bool
    color: tuple[int, int, int]


def contiguous_ids(category_ids: Sequence[int], categories: Sequence[PanopticCategory]) -> tuple[int, ...]:
    """Return the positions in `categories` (K,) of the classes with these category ids, in ascending order."""
    wanted = set(category_ids)
    return tuple(k for k, category in enumerate(categories) if category.id in wanted)


def distinct_colors(count: int) -> list[tuple[int, int, int]]:
    """Return `count` different RGB colors: hues by the golden ratio, in three shades."""
    return [_color(k) for k in range(count)]


def color_of_name(name: str) -> tuple[int, int, int]:
    """Return an RGB color that depends on the name alone, whatever other names there are.

    Colors of two names may be alike; :func:`distinct_colors` keeps those of a list apart.
    """
    return _color(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))


def _color(k: int) -> tuple[int, int, int]:
    saturation, value = ((0.85, 0.9), (0.55, 0.95), (0.7, 0.6))[k % 3]
    red, green, blue = colorsys.hsv_to_rgb(k * 0.618034 % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)
