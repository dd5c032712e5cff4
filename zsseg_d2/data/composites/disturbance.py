"""Disturbances of the background alone, as of a second photograph: shift, exposure, noise, JPEG.

Without them, subtracting the background from the composite nearly solves the task. All random numbers come from
``numpy.random``.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from detectron2.config import CfgNode  # imports torch


@dataclass(frozen=True)
class Disturbance:
    """How far a background differs from the one in its composite.

    Attributes:
        shift: largest shift along rows and along columns, in pixels; border pixels are repeated.
        exposure: largest change of brightness, as a share: 0.08 multiplies by 0.92 to 1.08.
        noise: largest standard deviation of Gaussian noise, in grey levels.
        jpeg: lowest and highest quality of a JPEG that the background goes through; (0, 0): none.
    """

    shift: int = 0
    exposure: float = 0.0
    noise: float = 0.0
    jpeg: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        low, high = self.jpeg
        if self.shift < 0 or not 0 <= self.exposure < 1 or self.noise < 0:
            raise ValueError("shift and noise must not be negative, and exposure must be in [0, 1).")
        if (low, high) != (0, 0) and not 1 <= low <= high <= 100:
            raise ValueError(
                f"INPUT.COMPOSITES.DISTURBANCE.JPEG={[low, high]}: it must be two rising qualities from 1 to 100, or "
                "0, 0 for none."
            )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Disturbance:
        """Read INPUT.COMPOSITES.DISTURBANCE; no disturbance if it is not ENABLED."""
        d = cfg.INPUT.COMPOSITES.DISTURBANCE
        return cls(d.SHIFT, d.EXPOSURE, d.NOISE, (d.JPEG[0], d.JPEG[1])) if d.ENABLED else cls()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Disturb an image.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        if self.shift:
            image = shifted(image, *np.random.randint(-self.shift, self.shift + 1, 2))
        if self.exposure or self.noise:
            gain = 1 + np.random.uniform(-self.exposure, self.exposure)
            noise = np.random.standard_normal(image.shape) * (self.noise * np.random.random())
            image = np.rint(image * gain + noise).clip(0, 255).astype(np.uint8)
        if self.jpeg != (0, 0):
            image = jpeg(image, int(np.random.randint(self.jpeg[0], self.jpeg[1] + 1)))
        return image


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """Move an (H, W, 3) image; border pixels are repeated where nothing moves in."""
    rows = np.arange(image.shape[0]) - down
    columns = np.arange(image.shape[1]) - right
    return image[rows.clip(0, image.shape[0] - 1)][:, columns.clip(0, image.shape[1] - 1)]


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Return the (H, W, 3) uint8 image as it comes back from a JPEG of a quality, 1 to 100."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file, formats=["JPEG"]))
