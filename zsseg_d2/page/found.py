"""What a tab of the page found in an image, in the form in which the page shows it and offers it for download."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

LARGEST_VIEW = 1024
"""Pixels of the longer side of the image that a browser shows."""
MOST_OVERLAPPING = 24
"""Segments of a result that may overlap: the bits of a pixel's code."""


@dataclass(frozen=True)
class Mark:
    """An entry in the list of segments.

    Attributes:
        label: the word or phrase.
        score: in [0, 1].
        share: of the image's pixels, in [0, 1]; 0 if it was not found.
        kind: ``"thing"``, ``"stuff"`` or ``""``.
        color: RGB, in [0, 255].
        bits: the bits of a pixel's code that tell whether it belongs to the segment.
        code: their value where it does.
    """

    label: str
    score: float
    share: float
    kind: str
    color: tuple[int, int, int]
    bits: int
    code: int


@dataclass(frozen=True, eq=False)
class Found:
    """A result.

    Attributes:
        name: of the image, without folder and ending.
        view: RGB, (h, w) pixels of the size that :func:`view_size` gives, with the segments drawn.
        codes: (h, w) int32; see `Mark`.
        marks: the segments.
        overlay: draws the segments over the image, at its own size.
        content: the result as JSON has it, with the mask of each segment.
    """

    name: str
    view: Image.Image
    codes: np.ndarray
    marks: tuple[Mark, ...]
    overlay: Callable[[], Image.Image]
    content: Mapping[str, Any]


def view_size(height: int, width: int) -> tuple[int, int]:
    """Return height and width of an image that fits into `LARGEST_VIEW` pixels, with at least one pixel a side.

    Example:
        >>> view_size(1024, 2048), view_size(30, 40), view_size(1, 5000)
        ((512, 1024), (30, 40), (1, 1024))
    """
    scale = min(1.0, LARGEST_VIEW / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def for_view(image: np.ndarray) -> np.ndarray:
    """Resize (H, W, 3) uint8 RGB for the view."""
    height, width = view_size(*image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def map_for_view(values: np.ndarray) -> np.ndarray:
    """Pick the (h, w) values of an (H, W) map for the view: those at the middle of each pixel."""
    height, width = view_size(*values.shape)
    rows = (np.arange(height) + 0.5) * values.shape[0] / height
    columns = (np.arange(width) + 0.5) * values.shape[1] / width
    return values[rows.astype(int)[:, None], columns.astype(int)]
