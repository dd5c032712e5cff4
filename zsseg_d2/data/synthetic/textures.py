"""A bank of small tileable textures, made once a process and looked up a pixel at a time."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SIZE = 256  # texels; every texture is SIZE x SIZE and wraps around
NAMES: tuple[str, ...] = (
    "fine",
    "cloth",
    "asphalt",
    "leaves",
    "needles",
    "grass",
    "brick",
    "stone",
    "tiles",
    "slabs",
    "planks",
    "clouds",
    "haze",
    "waves",
    "sand",
    "snow",
    "plaster",
    "gravel",
)


def _noise(rng: np.random.Generator, slope: float, low: float = 0.0, stretch: float = 1.0) -> np.ndarray:
    """Return periodic noise with amplitude ~ frequency**-slope above `low` cycles, scaled to unit variance."""
    fy = np.fft.fftfreq(SIZE)[:, None] * SIZE * stretch
    fx = np.fft.fftfreq(SIZE)[None, :] * SIZE / stretch
    radius = np.hypot(fy, fx)
    gain = np.where(radius > low, np.maximum(radius, 1.0) ** -slope, 0.0)
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIZE, SIZE))) * gain).real
    return field / field.std()


def _courses(rng: np.random.Generator, height: int, length: int, joint: int, bond: bool) -> np.ndarray:
    """Return a texture of rectangular units (bricks, tiles) with darker joints and a tone for each unit."""
    y, x = np.mgrid[:SIZE, :SIZE]
    row = y // height
    x = (x + (row % 2) * (length // 2) * bond) % SIZE
    tone = rng.normal(0, 0.6, (SIZE // height, SIZE // length))[row, x // length]
    is_joint = (y % height < joint) | (x % length < joint)
    return np.where(is_joint, -2.2, tone)


@lru_cache(maxsize=1)
def bank() -> np.ndarray:
    """Return (len(NAMES), SIZE, SIZE) float32 luminance deviations, about zero mean and unit variance."""
    rng = np.random.default_rng(20240607)
    fine = _noise(rng, 0.2)
    made = {
        "fine": fine,
        "cloth": _noise(rng, 0.8, 6),
        "asphalt": 0.7 * fine + 0.6 * _noise(rng, 1.6),
        "leaves": np.clip(1.3 * _noise(rng, 1.1, 5), -1.6, 2.2),
        "needles": _noise(rng, 0.9, 6, 2.0),
        "grass": _noise(rng, 0.6, 4, 0.45) + 0.4 * _noise(rng, 1.6),
        "brick": _courses(rng, 8, 32, 2, True) + 0.3 * fine,
        "stone": _courses(rng, 32, 64, 3, True) + 0.6 * _noise(rng, 1.2),
        "tiles": _courses(rng, 32, 32, 2, False) + 0.3 * fine,
        "slabs": _courses(rng, 64, 64, 3, True) + 0.5 * _noise(rng, 1.0),
        "planks": _courses(rng, 16, 256, 2, False) + 0.7 * _noise(rng, 1.0, 2, 4.0),
        "clouds": np.clip(_noise(rng, 1.9), -0.4, 2.5),
        "haze": _noise(rng, 2.4),
        "waves": _noise(rng, 1.1, 5, 3.0),
        "sand": 0.6 * fine + 0.7 * _noise(rng, 1.3, 3, 1.8),
        "snow": _noise(rng, 1.7, 2),
        "plaster": 0.4 * fine + 0.6 * _noise(rng, 1.5),
        "gravel": np.sign(_noise(rng, 0.5, 10)) * 0.8 + 0.5 * fine,
    }
    return np.stack([made[name] for name in NAMES]).astype(np.float32)
