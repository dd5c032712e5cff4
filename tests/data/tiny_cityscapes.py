"""A few very small images in Cityscapes layout; the real cityscapesscripts preparation makes the panoptic files."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
from cityscapesscripts.helpers.labels import labels
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from PIL import Image

EVALUATED = [label for label in labels if not label.ignoreInEval]
STUFF = [label.id for label in EVALUATED if not label.hasInstances]
THINGS = [label.id for label in EVALUATED if label.hasInstances]
TRAIN_IDS = {label.id: label.trainId % 256 for label in labels}


def instance_map(rng: np.random.Generator, height: int, width: int, first: int) -> np.ndarray:
    """(H, W) uint16 instance ids: stuff in stripes, void, an ignored class, crowds, things; `first` picks classes."""
    ids = np.zeros((height, width), np.uint16)
    for k, x in enumerate(range(0, width, 8)):
        ids[:, x : x + 8] = STUFF[(first + k) % len(STUFF)]
    ids[: height // 8, :] = 4  # static: void
    ids[-3:, :10] = 29001  # caravan: an instance that is not evaluated
    for k in range(6):
        label = THINGS[(first + k) % len(THINGS)]
        for instance in range(int(rng.integers(1, 4))):
            y, x = rng.integers(0, height - 8), rng.integers(0, width - 8)
            ids[y : y + rng.integers(3, 9), x : x + rng.integers(3, 9)] = 1000 * label + instance
    crowd = THINGS[first % len(THINGS)]
    ids[height // 2 : height // 2 + 5, 2:14] = crowd
    return ids


def make_tiny_cityscapes(root: Path, split: str = "train", images: int = 4, size: tuple[int, int] = (40, 64)) -> Path:
    """Write `images` images of `size` (H, W) under `root`, in two cities, and return `root`."""
    rng = np.random.default_rng(len(split))
    for k in range(images):
        city = ("aachen", "zurich")[k % 2]
        stem = f"{city}_{k:06d}_000019"
        ids = instance_map(rng, *size, first=3 * k)
        label_ids = np.where(ids >= 1000, ids // 1000, ids).astype(np.uint8)
        train_ids = np.vectorize(TRAIN_IDS.get)(label_ids).astype(np.uint8)
        image = rng.integers(0, 255, (*size, 3)).astype(np.uint8)
        for folder, suffix, pixels in (
            ("leftImg8bit", "leftImg8bit", image),
            ("gtFine", "gtFine_instanceIds", ids),
            ("gtFine", "gtFine_labelIds", label_ids),
            ("gtFine", "gtFine_labelTrainIds", train_ids),
        ):
            path = root / folder / split / city / f"{stem}_{suffix}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    with contextlib.redirect_stdout(io.StringIO()):
        convert2panoptic(str(root / "gtFine"), str(root / "gtFine"), setNames=[split])
    return root


def panoptic_json(root: Path) -> Path:
    """Return the annotations of the train split."""
    return root / "gtFine" / "cityscapes_panoptic_train.json"
