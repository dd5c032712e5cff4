"""Registered data sets -> grey pictures with a map of their objects, for panoptic sets and for phrases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from ...data.panoptic.mapper import read_rgb
from ...data.panoptic.png import read_panoptic_png
from ...data.phrasecut.dataset import group_by_image
from ...data.phrasecut.phrase_mapper import read_annotated_rgb
from ...data.phrasecut.polygons import draw_polygons

ObjectMap = tuple[np.ndarray, np.ndarray]
"""(H, W) uint8 grey levels (ITU-R 601 luma) and (H, W) int32 objects, 0 = none."""


def object_maps(dataset_name: str, limit: int | None = None, *, things_only: bool = False) -> Iterator[ObjectMap]:
    """Pictures of a registered data set, evenly spread over it where there are more than `limit`.

    Args:
        dataset_name: a panoptic set, or one in PhraseCut's layout.
        limit: most images; None: all.
        things_only: leave out stuff (of panoptic sets; phrases do not tell).
    Raises:
        ValueError: the records have neither panoptic PNGs nor polygons.
    """
    load = MetadataCatalog.get(dataset_name).get("load_complete_records") or (lambda: DatasetCatalog.get(dataset_name))
    records = load()
    if records and "polygons" in records[0]:
        records = group_by_image(records)
    count = len(records) if limit is None else min(limit, len(records))
    for k in range(count):
        record = records[k * len(records) // count]
        if "pan_seg_file_name" in record:
            yield _grey(read_rgb(record["file_name"])), _panoptic_objects(record, things_only)
        elif "tasks" in record:
            size = (record["height"], record["width"])
            pixels = read_annotated_rgb(record["file_name"], *size, record["image_id"])
            instances = [polygons for task in record["tasks"] for polygons in task["polygons"].by_instance()]
            yield _grey(pixels), merge_instances([draw_polygons(polygons, *size) for polygons in instances], size)
        else:
            raise ValueError(f"'{dataset_name}' has neither panoptic annotations nor polygons of phrases.")


def _grey(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).convert("L"))


def _panoptic_objects(record: Mapping, things_only: bool) -> np.ndarray:
    """Segments; without crowd regions, which are several objects, and without void."""
    ids = read_panoptic_png(record["pan_seg_file_name"])
    kept = [s["id"] for s in record["segments_info"] if not s["iscrowd"] and (s["isthing"] or not things_only)]
    return np.where(np.isin(ids, kept), ids, 0)


def merge_instances(masks: Sequence[np.ndarray], size: tuple[int, int], same: float = 0.5) -> np.ndarray:
    """Masks of the instances of several phrases -> a map of objects.

    Several phrases may mean the same object: of masks whose IoU is greater than `same` the first stays. Pixels of two
    objects belong to none.

    Args:
        masks: (H, W) bool each.
        size: (H, W).
    Returns:
        (H, W) int32, 0 = no object.
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
