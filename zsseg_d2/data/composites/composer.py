"""From a number to a composite: the same bytes for the same parts, settings and number, in any process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from .blending import Layer, blend, blend_depth, layer
from .depth import read_depth
from .numbering import Choice, Numbering
from .parts import Parts, read_background, read_background_depth, read_foreground
from .placement import Placement, place
from .settings import CompositeSettings

NO_DEPTH = "none"
"""``depth_kind`` of composites whose parts have no depth."""
_KEPT = 512  # decoded foregrounds, and backgrounds, that a process keeps


@dataclass(frozen=True)
class Composite:
    """A composite with its truth.

    Attributes:
        index: its number.
        choice: what it is made of.
        place: where the foreground is.
        image: (S, S, 3) uint8 RGB.
        background: (S, S, 3) uint8 RGB, without the foreground.
        mask: (S, S) bool: alpha above one half, where visible.
        depth: (S, S) float32, or None.
        depth_kind: "metric" (metres), "relative" (in [0, 1], grows with the distance) or "none".
    """

    index: int
    choice: Choice
    place: Placement
    image: np.ndarray
    background: np.ndarray
    mask: np.ndarray
    depth: np.ndarray | None
    depth_kind: str


class Composer:
    """Makes composites by their numbers.

    Decoded parts are kept, so that a composite costs a resize and a blend.

    Args:
        parts: foregrounds and backgrounds.
        settings: how composites are made.
    """

    def __init__(self, parts: Parts, settings: CompositeSettings) -> None:
        self.parts, self.settings = parts, settings
        flips = 2 if settings.flips else 1
        self.numbering = Numbering(len(parts.foregrounds), len(parts.backgrounds), flips, settings.position_count)
        self.depth_kind = NO_DEPTH if parts.depth is None else parts.depth.kind
        self._background = lru_cache(_KEPT)(self._read_background)
        self._foreground = lru_cache(_KEPT)(self._read_foreground)

    def __reduce__(self) -> tuple:
        return _shared, (self.parts, self.settings)

    def __len__(self) -> int:
        return self.numbering.size

    def __getitem__(self, index: int) -> Composite:
        """Make a composite.

        Raises:
            IndexError: there is no such composite.
            DatasetError: a file is missing or damaged.
        """
        choice = self.numbering.choice(index)
        background, background_depth = self._background(choice.background)
        rgba, depth, size = self._foreground(choice.foreground)
        where = place(self.settings, index, choice.position, size)
        pasted = layer(rgba, (where.height, where.width), self._moved(depth, where, size))
        if choice.flip:
            pasted = pasted.mirrored()
        image, mask = blend(background, pasted, where)
        return Composite(
            index, choice, where, image, background, mask, self._depth(background_depth, pasted, where, mask),
            self.depth_kind,
        )  # fmt: skip

    def name(self, index: int) -> str:
        """Return the names of what a composite is made of, for messages."""
        choice = self.numbering.choice(index)
        foreground = self.parts.foregrounds[choice.foreground].image.stem
        background = self.parts.backgrounds[choice.background].image.stem
        return f"{foreground}{'_flip' if choice.flip else ''}_{background}_{choice.position + 1:02}"

    def _depth(
        self, background: np.ndarray | None, pasted: Layer, where: Placement, mask: np.ndarray
    ) -> np.ndarray | None:
        return None if background is None else blend_depth(background, pasted, where, mask)

    def _moved(self, depth: np.ndarray | None, where: Placement, size: tuple[int, ...]) -> np.ndarray | None:
        """Return metric depth at the distance that the foreground's size on the canvas tells."""
        native = self.parts.native_side
        if depth is None or not native or self.depth_kind != "metric":
            return depth
        enlarged = max(where.height, where.width) / max(size[:2]) * native / self.settings.side
        return depth / np.float32(enlarged)

    def _read_background(self, number: int) -> tuple[np.ndarray, np.ndarray | None]:
        part, format, side = self.parts.backgrounds[number], self.parts.depth, self.settings.side
        depth = None if format is None else read_background_depth(part, format, side)
        return read_background(part.image, side), depth

    def _read_foreground(self, number: int) -> tuple[np.ndarray, np.ndarray | None, tuple[int, int]]:
        """Return RGBA and depth, at most twice as large as they are needed, and the size of the file."""
        part, format = self.parts.foregrounds[number], self.parts.depth
        rgba = read_foreground(part.image)
        size = rgba.shape[0], rgba.shape[1]
        depth = None if format is None or part.depth is None else read_depth(part.depth, format, size)
        largest = max(1, round(2 * self.settings.scale[1] * self.settings.side))
        if max(size) > 2 * largest:  # photographs would fill the memory
            height, width = (max(1, round(length * largest / max(size))) for length in size)
            rgba = np.asarray(Image.fromarray(rgba).resize((width, height), Image.Resampling.BOX))
            if depth is not None:
                depth = np.asarray(Image.fromarray(depth).resize((width, height), Image.Resampling.NEAREST))
        return rgba, depth, size


@lru_cache(4)
def _shared(parts: Parts, settings: CompositeSettings) -> Composer:
    """Return the one composer of a process that others send there, with what it keeps."""
    return Composer(parts, settings)
