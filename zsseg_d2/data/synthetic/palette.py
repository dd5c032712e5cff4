"""Named colours: what a phrase such as "red car" means in pixels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

RGB = tuple[int, int, int]

CITY_PALETTE: dict[str, RGB] = {
    "red": (178, 34, 34),
    "orange": (222, 118, 30),
    "yellow": (226, 198, 58),
    "green": (44, 122, 60),
    "blue": (40, 80, 164),
    "purple": (112, 56, 146),
    "pink": (224, 138, 170),
    "brown": (112, 70, 40),
    "white": (226, 226, 222),
    "black": (34, 34, 38),
}

PRETRAINING_PALETTE: dict[str, RGB] = {
    "red": (218, 48, 42),
    "orange": (244, 142, 38),
    "yellow": (246, 220, 72),
    "green": (60, 160, 72),
    "blue": (54, 110, 212),
    "purple": (144, 78, 184),
    "pink": (244, 160, 196),
    "brown": (138, 88, 50),
    "white": (246, 246, 242),
    "black": (44, 42, 46),
}

COLOUR_NAMES: tuple[str, ...] = tuple(CITY_PALETTE)

# Neutral mid tones (glass, tyres, asphalt) are no named colour, so they get bins of their own.
_NEUTRAL: tuple[RGB, ...] = ((120, 120, 122), (84, 88, 94), (156, 158, 160))
# Lightness counts less than hue, so that shade and haze do not rename a colour.
_LIGHTNESS_WEIGHT = 0.55


def _lab(rgb: np.ndarray) -> np.ndarray:
    """Return the CIE L*a*b* of sRGB values in [0, 255]; shape (..., 3) in and out."""
    linear = np.where(rgb <= 10.31475, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ matrix.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


@lru_cache(maxsize=1)
def _name_table() -> np.ndarray:
    """Return (32, 32, 32) uint8: nearest entry of COLOUR_NAMES for 5-bit RGB; len(COLOUR_NAMES) = none."""
    level = np.arange(32) * 8.0 + 4
    grid = _lab(np.stack(np.meshgrid(level, level, level, indexing="ij"), -1))
    anchors = [rgb for palette in (CITY_PALETTE, PRETRAINING_PALETTE) for rgb in palette.values()]
    names = list(range(len(COLOUR_NAMES))) * 2 + [len(COLOUR_NAMES)] * len(_NEUTRAL)
    anchors_lab = _lab(np.array(anchors + list(_NEUTRAL), dtype=float))
    weight = np.array([_LIGHTNESS_WEIGHT, 1.0, 1.0])
    squared = (((grid[..., None, :] - anchors_lab) * weight) ** 2).sum(-1)
    return np.array(names, dtype=np.uint8)[squared.argmin(-1)]


def name_pixels(image: np.ndarray) -> np.ndarray:
    """Return the named colour of each pixel.

    Args:
        image: (..., 3) uint8 RGB.
    Returns:
        (...) uint8 positions in `COLOUR_NAMES`; `len(COLOUR_NAMES)` where no name fits (greys).
    """
    quantised = image >> 3
    return _name_table()[quantised[..., 0], quantised[..., 1], quantised[..., 2]]


def shade(rgb: RGB, factor: float) -> RGB:
    """Return `rgb` multiplied by `factor`, clipped to [0, 255]."""
    return tuple(min(255, max(0, int(c * factor))) for c in rgb)  # type: ignore[return-value]


def mix(a: RGB, b: RGB, t: float) -> RGB:
    """Return the linear mixture: `a` at t = 0, `b` at t = 1."""
    return tuple(int(p + (q - p) * t) for p, q in zip(a, b))  # type: ignore[return-value]
