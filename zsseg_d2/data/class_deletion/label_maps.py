"""The files of class-deleted copies: one source image is read, and its files in every copy are written, in parallel."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np

from ...worker_pool import worker_pool
from ..errors import DatasetError
from ..images.opening import open_image
from ..panoptic.cityscapes import CATEGORIES
from ..panoptic.png import check_segments, read_panoptic_png, segment_pixels
from ..panoptic.split_writer import provide_image
from .relabelled import RelabelledMap

LABEL_MAPS = ("instanceIds", "labelIds", "labelTrainIds")
_TRAIN_IDS = np.full(256, 255, np.uint8)  # label id -> train id
_TRAIN_IDS[[c.id for c in CATEGORIES]] = np.arange(len(CATEGORIES))


@dataclass(frozen=True)
class DeletionTask:
    """An image of the source, and the copies that lack it.

    Args:
        record: the image's complete record.
        label_of: segment id -> label id.
        root: folder of the source.
        outputs: folder and deleted label ids of each copy.
        image: relative to `root` and to the folder of each copy, like the following paths.
        panoptic: the panoptic PNG.
        labels: the label maps, without "_{kind}.png"; None: there are none.
        copy_image: copy the image instead of linking to it.
    """

    record: dict
    label_of: dict[int, int]
    root: Path
    outputs: tuple[tuple[Path, frozenset[int]], ...]
    image: Path
    panoptic: Path
    labels: Path | None
    copy_image: bool


Counts = tuple[int | str, list[list[int]]]
"""An image id, and [label id, segments, pixels] of each class in the image."""


def write_tasks(tasks: Sequence[DeletionTask], num_workers: int | None = None) -> Iterator[Counts]:
    """Write the files of all tasks.

    Args:
        tasks: their folders exist.
        num_workers: processes; None: one per usable core; 0 or 1: this process alone.

    Yields:
        The counts of each image, as soon as it is written.

    Raises:
        DatasetError: a source file is missing, damaged or inconsistent.
    """
    if num_workers is None:
        affinity = getattr(os, "sched_getaffinity", None)
        num_workers = len(affinity(0)) if affinity else os.cpu_count() or 1
    num_workers = min(num_workers, len(tasks))
    if num_workers <= 1:
        yield from map(_write_image, tasks)
        return
    queue = iter(tasks)
    with worker_pool(num_workers, "wrote labels") as pool:
        running = {pool.submit(_write_image, task) for task in islice(queue, 4 * num_workers)}
        while running:
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(_write_image, task) for task in islice(queue, len(ready))}
            for future in ready:
                yield future.result()


def _write_image(task: DeletionTask) -> Counts:
    """Write the files of one image in every copy."""
    record = task.record
    expected = (record["height"], record["width"]) if "height" in record else None
    ids = read_panoptic_png(record["pan_seg_file_name"], expected)
    check_segments(ids, record["segments_info"], record["pan_seg_file_name"])
    panoptic = RelabelledMap(record["pan_seg_file_name"], ids)
    label_maps = None if task.labels is None else _LabelMaps(task.root / task.labels, ids.shape)
    for output, deleted in task.outputs:
        provide_image(Path(record["file_name"]), output / task.image, copy=task.copy_image)
        kept_ids = np.zeros(int(ids.max()) + 1, np.int32)
        for segment, label in task.label_of.items():
            kept_ids[segment] = 0 if label in deleted else segment
        panoptic.write(output / task.panoptic, kept_ids)
        if label_maps is not None and task.labels is not None:
            label_maps.write(output / task.labels, deleted)
    counts: dict[int, list[int]] = {}
    for segment, pixels in segment_pixels(ids).items():
        if segment in task.label_of:
            label = task.label_of[segment]
            entry = counts.setdefault(label, [label, 0, 0])
            entry[1] += 1
            entry[2] += pixels
    return record["image_id"], [counts[label] for label in sorted(counts)]


class _LabelMaps:
    """Cityscapes' label maps of one image.

    Args:
        stem: path without "_{kind}.png".
        size: (H, W) in pixels.
    """

    def __init__(self, stem: Path, size: tuple[int, ...]) -> None:
        self.instances = _read_labels(f"{stem}_instanceIds.png", size, np.uint16)
        self.labels = _read_labels(f"{stem}_labelIds.png", size, np.uint8)

    def write(self, stem: Path, deleted: frozenset[int]) -> None:
        """Write the maps without the label ids in `deleted`."""
        table = _without(deleted)
        self.instances.write(f"{stem}_instanceIds.png", table)
        kept = table[:256].astype(np.uint8)
        self.labels.write(f"{stem}_labelIds.png", kept)
        self.labels.write(f"{stem}_labelTrainIds.png", _TRAIN_IDS[kept])


@lru_cache(maxsize=16)
def _without(deleted: frozenset[int]) -> np.ndarray:
    """Return (65536,) uint16: instance id (or label id) -> itself, or 0 (unlabeled) if its label is deleted."""
    table = np.arange(65536, dtype=np.uint16)
    labels = np.where(table >= 1000, table // 1000, table)
    table[np.isin(labels, list(deleted))] = 0
    return table


def _read_labels(path: str, size: tuple[int, ...], dtype: type) -> RelabelledMap:
    image = open_image(path, "label map", size=(size[0], size[1]))
    if image.mode not in ("L", "I", "I;16"):
        raise DatasetError(
            f"{path} is {image.width}x{image.height} ({image.mode}), but should be grey and {size[1]}x{size[0]} "
            "pixels; restore it from its dataset."
        )
    copies = image.format == "PNG" and (image.mode == "L") == (dtype == np.uint8)
    return RelabelledMap(path, np.asarray(image).astype(dtype), copies=copies)
