"""Alpha blending in floating point, with the mask and the depth of what is visible."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from .placement import Placement


class Layer(NamedTuple):
    """A foreground.

    Attributes:
        color: (h, w, 3) float32 RGB, 0 to 255, multiplied by alpha.
        alpha: (h, w) float32 in [0, 1].
        depth: (h, w) float32, or None.
    """

    color: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray | None

    def mirrored(self) -> Layer:
        """Return the layer with left and right exchanged."""
        depth = None if self.depth is None else self.depth[:, ::-1]
        return Layer(self.color[:, ::-1], self.alpha[:, ::-1], depth)


def layer(rgba: np.ndarray, size: tuple[int, int], depth: np.ndarray | None = None) -> Layer:
    """Resize a foreground. Colors are weighted by alpha, so that those of transparent pixels do not show at edges.

    Args:
        rgba: (h, w, 4) uint8, alpha not multiplied in.
        size: (height, width) of the result in pixels.
        depth: (h, w) float32, or None; its values are taken, never mixed.
    """
    alpha = rgba[..., 3].astype(np.float32) / 255
    planes = [rgba[..., c] * alpha for c in range(3)] + [alpha]
    resized = [_resize(plane, size, Image.Resampling.BILINEAR) for plane in planes]
    depth = None if depth is None else _resize(depth, size, Image.Resampling.NEAREST)
    return Layer(np.stack(resized[:3], axis=-1), resized[3], depth)


def _resize(plane: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    if plane.shape == tuple(size):
        return plane
    return np.asarray(Image.fromarray(plane).resize((size[1], size[0]), how))


def blend(background: np.ndarray, foreground: Layer, place: Placement) -> tuple[np.ndarray, np.ndarray]:
    """Paste a foreground into a background.

    Args:
        background: (H, W, 3) uint8 RGB.
        foreground: (h, w) as `place` says.
        place: where; parts beyond the border are cut off.

    Returns:
        The composite ((H, W, 3) uint8 RGB, rounded to the nearest), and the mask ((H, W) bool): alpha above one half,
        where visible.
    """
    composite, mask = background.copy(), np.zeros(background.shape[:2], bool)
    there, here = windows(background.shape[:2], place)
    alpha = foreground.alpha[here]
    mixed = foreground.color[here] + (1 - alpha[..., None]) * background[there]
    composite[there] = np.rint(mixed).clip(0, 255).astype(np.uint8)
    mask[there] = alpha > 0.5
    return composite, mask


def blend_depth(background: np.ndarray, foreground: Layer, place: Placement, mask: np.ndarray) -> np.ndarray:
    """Return the (H, W) depth of a composite: the foreground's inside the mask, the background's elsewhere.

    Args:
        background: (H, W) float32.
        foreground: with depth, of the same kind and unit.
        place: where the foreground is.
        mask: (H, W) bool, as :func:`blend` returns it.
    """
    assert foreground.depth is not None
    depth = background.copy()
    there, here = windows(background.shape, place)
    depth[there] = np.where(mask[there], foreground.depth[here], background[there])
    return depth


Window = tuple[slice, slice]


def windows(canvas: tuple[int, ...], place: Placement) -> tuple[Window, Window]:
    """Return the rows and columns of the canvas that a foreground covers, and those of the foreground there."""
    there, here = [], []
    for start, length, side in ((place.y, place.height, canvas[0]), (place.x, place.width, canvas[1])):
        first, last = max(start, 0), max(min(start + length, side), max(start, 0))
        there.append(slice(first, last))
        here.append(slice(first - start, last - start))
    return (there[0], there[1]), (here[0], here[1])
