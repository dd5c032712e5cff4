"""The data side: counting, decoding, class deletion, polygons, the training mapper.

Each function makes its inputs once, by a fixed seed, and returns what is to be timed: a function without arguments.
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
from ...data.panoptic.png import read_panoptic_png, write_panoptic_png
from ...data.phrasecut.polygons import Nested, pack_polygons
from ...data.seeding import numpy_seed
from ...data.synthetic import write_minicity
from ...evaluation.panoptic.panoptic_counts import PanopticCounts, count_image
from ..config.setup import setup_cfg

IMAGE_SIZE = (1024, 2048)
"""H, W of Cityscapes."""


def panoptic_maps(image_size: tuple[int, int] = IMAGE_SIZE, segments: int = 60) -> tuple:
    """An annotation of winding regions, some of them void or a crowd, and a prediction of it that is a little off.

    Args:
        image_size: H, W. segments: of the annotation, at most 1000.
    Returns:
        ``(gt_ids, gt_segments, pred_ids, pred_segments)``, the first arguments of
        :func:`zsseg_d2.evaluation.panoptic.panoptic_counts.count_image`, for the 19 classes of Cityscapes; (H, W) int32 ids as in files.
    """
    rng = np.random.default_rng(0)
    height, width = image_size
    y, x = np.mgrid[:height, :width].astype(np.float32) / height
    x, y = x + 0.02 * np.sin(40 * y), y + 0.02 * np.sin(40 * x)
    nearest, region = np.full(image_size, np.inf, np.float32), np.zeros(image_size, np.int32)
    for number in range(segments + 2):
        centre_y, centre_x, stretch = rng.uniform(0, 1), rng.uniform(0, width / height), rng.uniform(0.5, 2)
        distance = (y - centre_y) ** 2 + stretch * (x - centre_x) ** 2
        np.copyto(region, number, where=distance < nearest)
        np.minimum(nearest, distance, out=nearest)
    gt_segments, ids = [], np.zeros(segments + 2, np.int32)  # the last two regions are void
    areas = np.bincount(region.ravel(), minlength=segments)
    for number in range(segments):
        category = number % 19
        ids[number] = 1 + number + 1000 * category
        gt_segments.append(
            {"id": int(ids[number]), "category_id": category, "iscrowd": int(number == 11), "area": int(areas[number])}
        )
    gt_ids = ids[region]
    pred_ids = np.roll(region + 1, (3, 5), (0, 1)).astype(np.int32)
    pred_segments = [
        {"id": n + 1, "category_id": int(rng.integers(19)) if n % 7 == 3 else n % 19} for n in range(segments + 2)
    ]
    gt_segments, pred_segments = (
        [s for s in listed if (ids == s["id"]).any()]
        for ids, listed in ((gt_ids, gt_segments), (pred_ids, pred_segments))
    )
    return gt_ids, gt_segments, pred_ids, pred_segments


def panoptic_evaluation(image_size: tuple[int, int] = IMAGE_SIZE, segments: int = 60) -> Callable[[], PanopticCounts]:
    """The counting of one image; decoding its annotation is :func:`panoptic_decoding`."""
    maps = panoptic_maps(image_size, segments)
    return lambda: count_image(*maps, 19)


def panoptic_decoding(
    folder: Path, image_size: tuple[int, int] = IMAGE_SIZE, segments: int = 60
) -> Callable[[], np.ndarray]:
    """Reading the annotation of one image from a PNG file in `folder`."""
    path = folder / "panoptic.png"
    write_panoptic_png(path, panoptic_maps(image_size, segments)[0])
    return lambda: read_panoptic_png(path, image_size)


def city_pictures(folder: Path, images: int, image_size: tuple[int, int] = IMAGE_SIZE) -> Path:
    """A data set in Cityscapes' layout below `folder`, split "train"; kept if it is there. Takes 1 s an image of full size.

    Returns:
        Its root.
    """
    return write_minicity(folder, train=images, val=0, height=image_size[0], width=image_size[1], reuse=True)


def class_deletion(
    root: Path, output: Path, configurations: Sequence[str] = ("008",), num_workers: int | None = None
) -> Callable[[], Path]:
    """Writing copies of the data set `root` without the classes that `configurations` delete, as
    ``tools/delete_classes.py`` does.

    Args:
        root: of :func:`city_pictures`.
        output: an existing folder; each call writes a new one in it.
        configurations: one name, or ``tuple(CONFIGURATIONS)`` for all nine.
        num_workers: processes; None: one a usable core.
    Returns:
        A function that returns the folder it wrote, with one folder a configuration.
    """
    numbers = count()

    def run() -> Path:
        folder = output / f"copies_{next(numbers)}"
        copies = [ClassDeletedExport(folder / name, CONFIGURATIONS[name]) for name in configurations]
        write_deleted_copies(root, "train", copies, num_workers=num_workers, progress=False)
        return folder

    return run


def phrase_polygons(masks: int) -> list[tuple[Nested, int, int]]:
    """Polygons in the form of PhraseCut's JSON, with height and width of their picture: 1 to 4 of 20 to 80 points each."""
    rng, found = np.random.default_rng(0), []
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
    """Drawing the masks of `masks` phrases, as many as PhraseCut's val split has; polygons are packed as when records load.

    Returns:
        A function that returns the number of pixels inside, for comparison.
    """
    packed = [(pack_polygons(nested), height, width) for nested, height, width in phrase_polygons(masks)]
    return lambda: sum(int(np.count_nonzero(polygons.mask(height, width))) for polygons, height, width in packed)


def training_mapper(root: Path, config_file: str = "configs/cityscapes/full_finetune_r50.yaml") -> Callable[[], dict]:
    """Reading, augmenting and packing one image of the data set `root` (of :func:`city_pictures`) for training."""
    cfg = setup_cfg(argparse.Namespace(config_file=config_file), check=False)
    mapper = PanopticMapper(cfg, training=True)
    record = load_cityscapes_panoptic(root, "train")[0]

    def run() -> dict:
        with numpy_seed(0):
            return mapper(dict(record))

    return run
