"""Letters for labels in images: matplotlib's DejaVu Sans, an installed font for other scripts, or escapes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
from PIL import ImageFont


class Label(NamedTuple):
    """A text, and a font that has all its letters."""

    text: str
    font: ImageFont.FreeTypeFont


def label(text: str, size: int) -> Label:
    """Choose a font for a text.

    DejaVu Sans has Latin, Greek, Cyrillic, Arabic and more. For other scripts, an installed font that has all
    letters is taken. Where there is none, letters that DejaVu Sans lacks are written as escapes, such as ``\\u6c7d``.

    Args:
        text: of one line.
        size: in pixels.
    """
    plain = _default_font()
    missing = {c for c in text if ord(c) not in _letters(plain) and not c.isspace()}
    if missing:
        for path in _installed_fonts():
            if all(ord(c) in _letters(path) or c.isspace() for c in text):
                return Label(text, ImageFont.truetype(path, size))
    shown = "".join(c.encode("unicode_escape").decode() if c in missing else c for c in text)
    return Label(shown, ImageFont.truetype(plain, size))


def _default_font() -> str:
    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


def _installed_fonts() -> Iterator[str]:
    from matplotlib.font_manager import fontManager  # slow to import; lists the fonts of the machine

    yield from sorted({entry.fname for entry in fontManager.ttflist})


@lru_cache(maxsize=256)
def _letters(path: str) -> frozenset[int]:
    """Return the code points that a font has."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()  # a font that FreeType cannot read
