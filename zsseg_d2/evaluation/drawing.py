"""Sizes of drawings, bounded for images of any shape."""

from __future__ import annotations

import numpy as np

HIGHEST = 4
"""Height of the highest drawing, in widths."""


def fitted(image: np.ndarray, wanted: int) -> tuple[int, int]:
    """Return width and height at which an (H, W, …) image is drawn `wanted` pixels wide.

    An image that would become higher than `HIGHEST` times that is drawn narrower instead.
    """
    height, width = image.shape[:2]
    scale = min(wanted / width, HIGHEST * wanted / height)
    return max(1, round(width * scale)), max(1, round(height * scale))
