"""A prediction to look at: segments with names and scores over their image, and a legend below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ..labels import label
from .visualization import DARKEST, VOID_CAPTION, PaintedSegment, paint_segments

LEAST_WIDTH = 320  # pixels of the legend
_MOST_SCORES = 4  # of a class in the legend


class NamedSegment(NamedTuple):
    """A segment of a prediction: its id, the name and RGB color of its class, its score in [0, 1], and its pixels."""

    id: int
    name: str
    color: tuple[int, int, int]
    score: float
    area: int


def draw_overlay(image: np.ndarray, ids: np.ndarray, segments: Sequence[NamedSegment]) -> Image.Image:
    """Draw the image at its own size with its segments, and a legend below it.

    Args:
        image: (H, W, 3) uint8 RGB.
        ids: (H, W) segment ids; pixels whose id is not listed are void, dark and striped.
        segments: of the map.

    Returns:
        An RGB image of at least `LEAST_WIDTH` pixels; the upper left (H, W) pixels are the painted image.
    """
    height, width = image.shape[:2]
    painted = draw_segments(image, ids, segments)
    entries = _entries(segments)
    if sum(s.area for s in segments) < height * width:
        entries.append(((DARKEST, DARKEST, DARKEST), VOID_CAPTION))
    legend = _legend(entries, max(width, LEAST_WIDTH), _font_size(image))
    sheet = Image.new("RGB", (legend.width, height + legend.height), "white")
    sheet.paste(painted, (0, 0))
    sheet.paste(legend, (0, height))
    return sheet


def draw_segments(image: np.ndarray, ids: np.ndarray, segments: Sequence[NamedSegment]) -> Image.Image:
    """Draw the image with its segments, their names and scores, without a legend; see :func:`draw_overlay`.

    Returns:
        An RGB image of the size of `image`.
    """
    captioned = [PaintedSegment(s.id, s.color, f"{s.name} {s.score:.2f}") for s in segments]
    return paint_segments(image, ids, captioned, _font_size(image))


def _font_size(image: np.ndarray) -> int:
    return min(max(12, round(min(image.shape[:2]) / 36)), 40)


def _entries(segments: Sequence[NamedSegment]) -> list[tuple[tuple[int, int, int], str]]:
    """Return color and text of each class, that of the largest area first."""
    of_class: dict[tuple[str, tuple[int, int, int]], list[NamedSegment]] = {}
    for segment in segments:
        of_class.setdefault((segment.name, segment.color), []).append(segment)
    entries = []
    for (name, color), members in sorted(of_class.items(), key=lambda item: -sum(s.area for s in item[1])):
        scores = sorted((s.score for s in members), reverse=True)
        count = f" ×{len(members)}" if len(members) > 1 else ""
        shown = ", ".join(f"{score:.2f}" for score in scores[:_MOST_SCORES])
        more = ", …" if len(scores) > _MOST_SCORES else ""
        entries.append((color, f"{name}{count} · {shown}{more}"))
    return entries


def _legend(entries: Sequence[tuple[tuple[int, int, int], str]], width: int, font_size: int) -> Image.Image:
    """Draw a swatch and a text for each entry, as many in a line as there is room for."""
    line, gap = round(1.6 * font_size), round(0.5 * font_size)
    places, x, y = [], gap, 0
    for color, text in entries:
        shown, font = label(text, font_size)
        while len(shown) > 2 and font.getlength(shown) > width - font_size - 3 * gap:
            shown = shown[:-2] + "…"
        needed = font_size + gap + round(font.getlength(shown)) + 2 * gap
        if x > gap and x + needed > width:
            x, y = gap, y + line
        places.append((x, y, color, shown, font))
        x += needed
    sheet = Image.new("RGB", (width, y + line + gap if places else 0), "white")
    draw = ImageDraw.Draw(sheet)
    for left, top, color, text, font in places:
        middle = top + gap + line // 2 - gap // 2
        draw.rectangle((left, middle - font_size // 2, left + font_size, middle + font_size // 2), tuple(color))
        draw.text((left + font_size + gap, middle), text, fill=(20, 20, 20), font=font, anchor="lm")
    return sheet
