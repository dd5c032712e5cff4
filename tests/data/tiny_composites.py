"""A small folder of parts: discs and crosses with soft edges, noisy backgrounds, exact depth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

UNIT = 1 / 256


def disc(height: int, width: int) -> np.ndarray:
    """(h, w) alpha from 0 to 255 of an ellipse with a soft edge."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot((y + 0.5) / height * 2 - 1, (x + 0.5) / width * 2 - 1)
    return np.clip((1 - distance) * 6 * 255, 0, 255).astype(np.uint8)


def write_parts(root: Path, *, foregrounds: int = 4, backgrounds: int = 3, seed: int = 0, metric: bool = True) -> Path:
    """Write foregrounds (ones of odd sizes among them), backgrounds, and the depth of both, flat in `root`."""
    rng = np.random.default_rng(seed)
    for name in ("foregrounds", "backgrounds", "foreground_depth", "background_depth"):
        (root / name).mkdir(parents=True)
    for k in range(foregrounds):
        height, width = (20, 20) if k % 3 == 0 else (31, 14) if k % 3 == 1 else (9, 40)
        color = rng.integers(0, 256, 3)
        rgba = np.dstack([np.broadcast_to(color, (height, width, 3)).astype(np.uint8), disc(height, width)])
        Image.fromarray(rgba).save(root / "foregrounds" / f"f{k}.png")
        save_depth(root / "foreground_depth" / f"f{k}.png", np.full((height, width), (3 + k) * 256))
    for k in range(backgrounds):
        height, width = (48, 48) if k % 2 == 0 else (50, 71)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(
            root / "backgrounds" / f"b{k}.png"
        )
        save_depth(root / "background_depth" / f"b{k}.png", rng.integers(2560, 20480, (height, width)))
    return root


def write_splits(root: Path, *, metric: bool = True) -> Path:
    """Write the three splits of a registered folder."""
    for k, split in enumerate(("train", "val", "test")):
        write_parts(root / split, seed=k)
    kind = {"kind": "metric", "unit": UNIT} if metric else {"kind": "relative", "near_is": "large"}
    (root / "depth.json").write_text(json.dumps(kind))
    return root


def save_depth(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values.astype(np.uint16)).save(path)
