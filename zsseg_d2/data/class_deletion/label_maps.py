"""The pictures of class-deleted copies: one source image in, its files in every copy out, in parallel."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np

from ..panoptic.cityscapes import CATEGORIES
from ..panoptic.png import DatasetError, check_segments, open_image, read_panoptic_png, segment_pixels
from ..panoptic.split_writer import provide_image
from .configurations import CONFIGURATIONS
from .relabelled import RelabelledPicture

LABEL_PICTURES = ("instanceIds", "labelIds", "labelTrainIds")
_TRAIN_IDS = np.full(256, 255, np.uint8)  # label id -> train id
_TRAIN_IDS[[c.id for c in CATEGORIES]] = np.arange(len(CATEGORIES))


@dataclass(frozen=True)
class PictureTask:
    """One image of the source, and the copies that lack it."""

    record: dict
    root: Path
    outputs: tuple[tuple[Path, frozenset[int]], ...]  # folder of each copy, its deleted label ids
    image: Path  # this and the following: relative to `root` and to each folder
    panoptic: Path
    labels: Path  # without "_{kind}.png"
    copy_image: bool


def write_pictures(tasks: Sequence[PictureTask], num_workers: int | None = None) -> Iterator[tuple]:
    """Write the pictures of all tasks.

    Args:
        tasks: their folders exist.
        num_workers: processes; None: one a usable core; 0 or 1: this process alone.
    Yields:
        As each image is ready: its id and ``[label id, segments, pixels]`` of each class in it.
    Raises:
        DatasetError: a source picture is missing, damaged or inconsistent.
    """
    if num_workers is None:
        affinity = getattr(os, "sched_getaffinity", None)
        num_workers = len(affinity(0)) if affinity else os.cpu_count() or 1
    num_workers = min(num_workers, len(tasks))
    if num_workers <= 1:
        yield from map(_write_image, tasks)
        return
    # A forked worker starts at once; a spawned one would first import torch, which it does not need.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    queue = iter(tasks)
    pool = ProcessPoolExecutor(
        num_workers, multiprocessing.get_context(method), initializer=_prepare_worker, initargs=(os.getpid(),)
    )
    try:
        running = {pool.submit(_write_image, task) for task in islice(queue, 4 * num_workers)}
        while running:
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(_write_image, task) for task in islice(queue, len(ready))}
            for future in ready:
                yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_worker(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_image(task: PictureTask) -> tuple:
    """Everything of one image, for every copy."""
    record = task.record
    expected = (record["height"], record["width"]) if "height" in record else None
    ids = read_panoptic_png(record["pan_seg_file_name"], expected)
    check_segments(ids, record["segments_info"], record["pan_seg_file_name"])
    panoptic = RelabelledPicture(record["pan_seg_file_name"], ids)
    instances = _read_labels(f"{task.root / task.labels}_instanceIds.png", ids.shape, np.uint16)
    labels = _read_labels(f"{task.root / task.labels}_labelIds.png", ids.shape, np.uint8)
    label_of = {s["id"]: CATEGORIES[s["category_id"]].id for s in record["segments_info"]}
    for output, deleted in task.outputs:
        provide_image(Path(record["file_name"]), output / task.image, copy=task.copy_image)
        keep = np.zeros(int(ids.max()) + 1, np.int32)
        for segment, label in label_of.items():
            keep[segment] = 0 if label in deleted else segment
        panoptic.write(output / task.panoptic, keep)
        without = _without(deleted)
        instances.write(f"{output / task.labels}_instanceIds.png", without)
        kept = without[:256].astype(np.uint8)
        labels.write(f"{output / task.labels}_labelIds.png", kept)
        labels.write(f"{output / task.labels}_labelTrainIds.png", _TRAIN_IDS[kept])
    counts: dict[int, list[int]] = {}
    for segment, pixels in segment_pixels(ids).items():
        if segment in label_of:
            entry = counts.setdefault(label_of[segment], [label_of[segment], 0, 0])
            entry[1] += 1
            entry[2] += pixels
    return record["image_id"], [counts[label] for label in sorted(counts)]


@lru_cache(maxsize=len(CONFIGURATIONS))
def _without(deleted: frozenset[int]) -> np.ndarray:
    """(65536,) uint16: instance id (or label id) to itself, or to 0 (unlabeled) where its label is deleted."""
    table = np.arange(65536, dtype=np.uint16)
    labels = np.where(table >= 1000, table // 1000, table)
    table[np.isin(labels, list(deleted))] = 0
    return table


def _read_labels(path: str, size: tuple[int, int], dtype: type) -> RelabelledPicture:
    image = open_image(path, "label picture")
    if (image.height, image.width) != size or image.mode not in ("L", "I", "I;16"):
        raise DatasetError(
            f"{path} is {image.width}x{image.height} ({image.mode}), but should be grey and {size[1]}x{size[0]} "
            "pixels; restore it from its data set."
        )
    copies = image.format == "PNG" and (image.mode == "L") == (dtype == np.uint8)
    return RelabelledPicture(path, np.asarray(image).astype(dtype), copies=copies)
