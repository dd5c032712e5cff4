"""Work of the data side: counting, class deletion, polygons, the training mapper.

Each function makes its inputs once, from a fixed seed, and returns the function to time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import numpy as np

from ...data.class_deletion.configurations import CONFIGURATIONS
from ...data.class_deletion.export import ClassDeletedExport, write_deleted_copies
from ...data.panoptic.cityscapes import load_cityscapes_panoptic
from ...data.panoptic.mapper import PanopticMapper
from ...data.phrasecut.polygons import Nested, pack_polygons
from ...data.seeding import numpy_seed
from ...data.synthetic import write_minicity
from ...evaluation.panoptic.panoptic_counts import PanopticCounts, count_image
from ..config.setup import setup_cfg

IMAGE_SIZE = (1024, 2048)
"""H, W of Cityscapes."""


def panoptic_maps(
    image_size: tuple[int, int] = IMAGE_SIZE, segments: int = 60
) -> tuple[np.ndarray, list[dict], np.ndarray, list[dict]]:
    """Make an annotation of winding regions, some of them void or a crowd, and a prediction that is a little off.

    Args:
        image_size: H, W.
        segments: segments of the annotation, at most 1000.

    Returns:
        ``(gt_ids, gt_segments, pred_ids, pred_segments)``, the first arguments of ``count_image``, for 19 classes.
    """
    rng = np.random.default_rng(0)
    height, width = image_size
    y, x = np.mgrid[:height, :width].astype(np.float32) / height
    x, y = x + 0.02 * np.sin(40 * y), y + 0.02 * np.sin(40 * x)
    nearest, region = np.full(image_size, np.inf, np.float32), np.zeros(image_size, np.int32)
    for number in range(segments + 2):  # the last two regions are void
        centre_y, centre_x, stretch = rng.uniform(0, 1), rng.uniform(0, width / height), rng.uniform(0.5, 2)
        distance = (y - centre_y) ** 2 + stretch * (x - centre_x) ** 2
        np.copyto(region, number, where=distance < nearest)
        np.minimum(nearest, distance, out=nearest)
    numbers = np.arange(segments)
    gt_ids = np.append(1 + numbers + 1000 * (numbers % 19), (0, 0)).astype(np.int32)[region]
    pred_ids = np.roll(region + 1, (3, 5), (0, 1)).astype(np.int32)
    areas = np.bincount(region.ravel(), minlength=segments)
    gt_segments = [
        {"id": 1 + n + 1000 * (n % 19), "category_id": n % 19, "iscrowd": int(n == 11), "area": int(areas[n])}
        for n in range(segments)
        if areas[n]
    ]
    pred_segments = [
        {"id": n + 1, "category_id": int(rng.integers(19)) if n % 7 == 3 else n % 19}
        for n in range(segments + 2)
        if areas[n : n + 1].any()
    ]
    return gt_ids, gt_segments, pred_ids, pred_segments


def panoptic_evaluation(image_size: tuple[int, int] = IMAGE_SIZE, segments: int = 60) -> Callable[[], PanopticCounts]:
    """Count one image."""
    maps = panoptic_maps(image_size, segments)
    return lambda: count_image(*maps, 19)


def city_images(folder: Path, images: int, image_size: tuple[int, int] = IMAGE_SIZE) -> Path:
    """Render a dataset in Cityscapes layout (1 s an image), split "train", unless it exists; return its root."""
    return write_minicity(folder, train=images, val=0, height=image_size[0], width=image_size[1], reuse=True)


def class_deletion(
    root: Path, output: Path, configurations: Sequence[str] = ("008",), num_workers: int | None = None
) -> Callable[[], Path]:
    """Write class-deleted copies of the dataset `root`, each call into a new folder of `output`, which it returns."""
    numbers = count()

    def run() -> Path:
        folder = output / f"copies_{next(numbers)}"
        copies = [ClassDeletedExport(folder / name, CONFIGURATIONS[name]) for name in configurations]
        write_deleted_copies(root, "train", copies, num_workers=num_workers, progress=False)
        return folder

    return run


def phrase_polygons(masks: int) -> list[tuple[Nested, int, int]]:
    """Make polygons as in PhraseCut's JSON (1 to 4 of 20 to 80 points), with height and width of their image."""
    rng = np.random.default_rng(0)
    found: list[tuple[Nested, int, int]] = []
    for _ in range(masks):
        height, width = int(rng.integers(333, 501)), int(rng.integers(333, 501))
        instances = []
        for _ in range(rng.integers(1, 5)):
            points = int(rng.integers(20, 81))
            angle = np.sort(rng.uniform(0, 2 * np.pi, points))
            radius = rng.uniform(0.7, 1.3, points) * rng.uniform(20, 150)
            x, y = rng.uniform(0, width) + radius * np.cos(angle), rng.uniform(0, height) + radius * np.sin(angle)
            instances.append([np.stack((x, y), -1).tolist()])
        found.append((instances, height, width))
    return found


def phrase_masks(masks: int = 20_316) -> Callable[[], int]:
    """Draw as many masks as PhraseCut's val split has phrases; the function returns the number of pixels inside."""
    packed = [(pack_polygons(nested), height, width) for nested, height, width in phrase_polygons(masks)]
    return lambda: sum(int(np.count_nonzero(polygons.mask(height, width))) for polygons, height, width in packed)


def training_mapper(root: Path, config_file: str = "cityscapes/full_finetune.yaml") -> Callable[[], dict]:
    """Read, augment and pack one image of the dataset `root` for training."""
    mapper = PanopticMapper(setup_cfg(argparse.Namespace(config_file=config_file), check=False), training=True)
    record = load_cityscapes_panoptic(root, "train")[0]

    def run() -> dict:
        with numpy_seed(0):
            return mapper(dict(record))

    return run
