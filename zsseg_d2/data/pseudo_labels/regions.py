"""Regions of an image that have no label after deletion, as masks of what was deleted. Pure functions of one image.

The kept labels say where a deleted object may be, to the pixel; a zero-shot model's masks say less exactly where it
is. So each connected region without a label is taken as a mask, divided among the predicted segments in it if several
are large, and a model names it. Where all stuff is labeled, as in configuration 008, a region is an object or a group
of objects that touch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RegionSettings:
    """Which regions become targets, and how they are divided.

    Args:
        min_area: pixels of a region, and of each of its parts.
        min_share: share of a region that a predicted segment covers at least to have a part of it, in (0, 1].
        min_deleted: the least probability that a region shows a deleted class, in [0, 1].
    """

    min_area: int
    min_share: float
    min_deleted: float = 0.0


def find_regions(unlabeled: np.ndarray, predicted_ids: np.ndarray, settings: RegionSettings) -> np.ndarray:
    """Divide the pixels without a label into regions.

    Pixels that touch, corners included, are one region. If at least two predicted segments cover enough of it, each of
    its pixels goes to the nearest of them (the Euclidean distance).

    Args:
        unlabeled: (H, W) bool, no kept label is here.
        predicted_ids: (H, W) ids of predicted segments of deleted classes, 0 elsewhere.
        settings: Which regions become targets.

    Returns:
        (H, W) int32 numbers of the regions, from 1; 0 where there is none.

    Example:
        >>> unlabeled = np.array([[True, True, True, True, False, True]])
        >>> find_regions(unlabeled, np.array([[7, 7, 0, 9, 0, 0]]), RegionSettings(min_area=1, min_share=0.25))
        array([[1, 1, 1, 2, 0, 3]], dtype=int32)
    """
    from scipy import ndimage

    components, _ = ndimage.label(unlabeled, np.ones((3, 3)))
    regions = np.zeros(unlabeled.shape, np.int32)
    number = 0
    for index, place in enumerate(ndimage.find_objects(components), start=1):
        inside = components[place] == index
        area = int(inside.sum())
        if area < settings.min_area:
            continue
        parts = np.where(inside, predicted_ids[place], 0)
        found, areas = np.unique(parts[parts > 0], return_counts=True)
        large = found[areas >= max(settings.min_area, settings.min_share * area)]
        own = regions[place]
        if len(large) < 2:
            number += 1
            own[inside] = number
            continue
        parts = np.where(np.isin(parts, large), parts, 0)
        nearest = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
        owner = parts[tuple(nearest)]
        for segment in large:
            number += 1
            own[inside & (owner == segment)] = number
    return regions
