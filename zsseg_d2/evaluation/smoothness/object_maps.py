"""Grey images with maps of their objects, from registered panoptic and phrase datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from ...data.errors import DatasetError
from ...data.images.reading import ImageRules, read_annotated_rgb
from ...data.panoptic.png import read_panoptic_png
from ...data.phrasecut.dataset import group_by_image
from ...data.phrasecut.phrase_mapper import read_task_image
from ...data.phrasecut.polygons import draw_polygons

ObjectMap = tuple[np.ndarray, np.ndarray]
"""(H, W) uint8 grey levels (ITU-R 601 luma) and (H, W) int32 objects, 0 = no object."""


def object_maps(
    dataset_name: str, limit: int | None = None, *, things_only: bool = False, rules: ImageRules | None = None
) -> Iterator[ObjectMap]:
    """Yield images of a registered dataset, evenly spread over it if it has more than `limit`.

    Args:
        dataset_name: a panoptic dataset, or one in PhraseCut's layout.
        limit: maximum number of images; None for all.
        things_only: ignore stuff (panoptic datasets only; phrases do not say what is stuff).
        rules: limits of images, and what their EXIF orientation means; None: the defaults.

    Raises:
        DatasetError: the records have neither panoptic PNGs nor polygons.
    """
    load = MetadataCatalog.get(dataset_name).get("load_complete_records") or (lambda: DatasetCatalog.get(dataset_name))
    records = load()
    if records and "polygons" in records[0]:
        records = group_by_image(records)
    count = len(records) if limit is None else min(limit, len(records))
    for k in range(count):
        record = records[k * len(records) // count]
        if "pan_seg_file_name" in record:
            pixels = read_annotated_rgb(record["file_name"], None, rules)
            yield _grey(pixels), _panoptic_objects(record, pixels.shape[:2], things_only)
        elif "tasks" in record:
            size = (record["height"], record["width"])
            pixels = read_task_image(record, rules)
            instances = [polygons for task in record["tasks"] for polygons in task["polygons"].by_instance()]
            yield _grey(pixels), merge_instances([draw_polygons(polygons, *size) for polygons in instances], size)
        else:
            raise DatasetError(f"'{dataset_name}' has neither panoptic annotations nor polygons of phrases.")


def _grey(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).convert("L"))


def _panoptic_objects(record: Mapping, size: tuple[int, int], things_only: bool) -> np.ndarray:
    """Return the segments without void and without crowd regions, which are several objects."""
    ids = read_panoptic_png(record["pan_seg_file_name"], size)
    kept = [s["id"] for s in record["segments_info"] if not s["iscrowd"] and (s["isthing"] or not things_only)]
    return np.where(np.isin(ids, kept), ids, 0)


def merge_instances(masks: Sequence[np.ndarray], size: tuple[int, int], same: float = 0.5) -> np.ndarray:
    """Merge the instance masks of several phrases into one map of objects.

    Several phrases may refer to the same object: of masks with an IoU above `same`, the first is kept. Pixels of two
    objects belong to no object.

    Args:
        masks: (H, W) bool each.
        size: (H, W).
        same: IoU above which two masks are the same object.

    Returns:
        (H, W) int32, 0 = no object.

    >>> one, two = np.array([[1, 1, 0, 0]], bool), np.array([[0, 1, 1, 1]], bool)
    >>> merge_instances([one, one, two], (1, 4))
    array([[1, 0, 2, 2]], dtype=int32)
    """
    kept: list[np.ndarray] = []
    for mask in masks:
        if mask.any() and not any((mask & other).sum() > same * (mask | other).sum() for other in kept):
            kept.append(mask)
    objects, claims = np.zeros(size, np.int32), np.zeros(size, np.int32)
    for number, mask in enumerate(kept, start=1):
        objects[mask] = number
        claims += mask
    return np.where(claims == 1, objects, 0)
