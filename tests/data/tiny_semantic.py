"""A few small images with label maps, in the folders and formats of FC-CLIP's semantic datasets or of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 64


def label_map(k: int, values: Sequence[int], ignored: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(H, W) int64: stripes of the values, shifted by `k`, and a corner that is ignored."""
    stripes = np.array(values)[(np.arange(width) * len(values) // width + k) % len(values)]
    labels = np.broadcast_to(stripes, (height, width)).copy()
    labels[: height // 4, : width // 4] = ignored
    return labels


def draw(labels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: each value has its own color."""
    return np.random.default_rng(0).integers(0, 255, (65536, 3)).astype(np.uint8)[labels]


def write_pair(images: Path, maps: Path, name: str, labels: np.ndarray, ending: str, wide: bool) -> None:
    """Write a JPEG and its label map, of 16 bits if `wide`."""
    for folder in (images, maps):
        folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw(labels)).save(images / f"{name}.jpg")
    Image.fromarray(labels.astype(np.uint16 if wide else np.uint8)).save(maps / f"{name}{ending}")
