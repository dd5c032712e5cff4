"""Cells of an image: the size at which they are computed, and their position code."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_LONGEST = 4  # long side over short side, of what is encoded


def encoding_size(height: int, width: int, side: int, patch: int, *, square: bool) -> tuple[int, int]:
    """Return the size at which an image is encoded.

    Args:
        height, width: of the image, in pixels.
        side: of the square, or the short side, in pixels; rounded to whole patches.
        patch: side of a cell in pixels.
        square: squeeze the image into a square, as BLIP was trained; False: keep its shape up to 4:1.

    Returns:
        (H, W), each a multiple of `patch`.

    Example:
        >>> encoding_size(200, 400, 384, 16, square=False)
        (384, 768)
        >>> encoding_size(200, 400, 384, 16, square=True)
        (384, 384)
    """
    short = max(1, round(side / patch))
    if square:
        return short * patch, short * patch
    ratio = min(_LONGEST, max(height, width) / min(height, width))
    long = max(short, round(side * ratio / patch))
    cells = (short, long) if height <= width else (long, short)
    return cells[0] * patch, cells[1] * patch


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize an image bicubically by Pillow, as CLIP and BLIP were trained.

    Args:
        image: (3, H0, W0) uint8 RGB.
        size: (H, W).

    Returns:
        (3, H, W) float32 in [0, 255], on the CPU.
    """
    pixels = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    resized = pixels.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).float()


def position_code(h: int, w: int, width: int = 256) -> np.ndarray:
    """Compute a sine code of the row and of the column of each cell (Vaswani et al. 2017, section 3.5).

    Half of the code is for the row, half for the column; each has the sines of index · 10000^(-2i / (width/2)), then
    the cosines. Every code has norm √(width / 2).

    Args:
        h, w: cells.
        width: numbers per cell; a multiple of 4.

    Returns:
        (h, w, width) float32.

    Raises:
        ValueError: `width` is no multiple of 4.
    """
    if width % 4:
        raise ValueError(f"A position code of {width} numbers does not divide into sines and cosines of two axes.")
    half = width // 2
    frequencies = 10000.0 ** (-2 * np.arange(half // 2) / half) if half else np.zeros(0)

    def axis(length: int) -> np.ndarray:
        angles = np.arange(length)[:, None] * frequencies
        return np.concatenate((np.sin(angles), np.cos(angles)), axis=1)

    code = np.zeros((h, w, width), np.float32)
    code[..., :half] = axis(h)[:, None]
    code[..., half:] = axis(w)[None]
    return code


def with_positions(cells: np.ndarray, weight: float, width: int = 256) -> np.ndarray:
    """Append the weighted position code to the embeddings of cells.

    Args:
        cells: (h, w, C) float32.
        weight: of the code; 0: positions do not count.
        width: numbers of the code.

    Returns:
        (h·w, C + width), or (h·w, C) if the weight is 0; row by row.
    """
    h, w, channels = cells.shape
    flat = cells.reshape(h * w, channels)
    if not weight:
        return flat
    return np.concatenate((flat, weight * position_code(h, w, width).reshape(h * w, width)), axis=1)
