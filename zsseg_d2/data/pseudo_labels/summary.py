"""Counts of a dataset of pseudo-labels, for its manifest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..panoptic.categories import PanopticCategory
from .targets import GROUND_TRUTH, ZERO_SHOT


@dataclass
class ClassSummary:
    """Counts of one class; `mean_score` is None without pseudo-labels."""

    label_id: int
    origin: str
    images: int = 0
    segments: int = 0
    pixels: int = 0
    mean_score: float | None = None


def summarize(
    images: Iterable[Sequence[dict]], categories: Sequence[PanopticCategory], deleted: Collection[int]
) -> dict:
    """Count segments by origin, and images, segments, pixels and the mean score of each class.

    Args:
        images: the segments of each image, as in the JSON.
        categories: (K,) the classes.
        deleted: contiguous ids of the classes with pseudo-labels.

    Returns:
        ``{"segments": {origin: count}, "classes": {name: counts}}``.
    """
    classes = {c.id: ClassSummary(c.id, ZERO_SHOT if k in deleted else GROUND_TRUTH) for k, c in enumerate(categories)}
    scores: dict[int, list[float]] = {c.id: [] for c in categories}
    for segments in images:
        for label in {s["category_id"] for s in segments}:
            classes[label].images += 1
        for segment in segments:
            found = classes[segment["category_id"]]
            found.segments += 1
            found.pixels += segment["area"]
            if segment["origin"] == ZERO_SHOT:
                scores[found.label_id].append(segment["score"])
    for label, entry in classes.items():
        entry.mean_score = round(float(np.mean(scores[label])), 4) if scores[label] else None
    by_origin = {
        origin: sum(c.segments for c in classes.values() if c.origin == origin) for origin in (GROUND_TRUTH, ZERO_SHOT)
    }
    return {"segments": by_origin, "classes": {c.name: asdict(classes[c.id]) for c in categories}}
