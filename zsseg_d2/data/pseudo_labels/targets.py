"""Zero-shot predictions -> training targets for deleted classes. Pure functions of one image that read no files.

Only the kept segments of the ground truth are used: pixels of any other segment become void first, so that no label,
instance or outline of a deleted class can reach a target.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count

import numpy as np

from ..panoptic.png import run_lengths
from ..panoptic.records import PanopticCategory

GROUND_TRUTH, ZERO_SHOT = "ground_truth", "zero_shot"


@dataclass(frozen=True)
class Thresholds:
    """The least that a predicted segment needs to become a target.

    Args:
        min_score: class score of the prediction, in [0, 1].
        min_area: pixels that remain of it.
        min_visible: share of it that remains, in [0, 1].
    """

    min_score: float
    min_area: int
    min_visible: float


def listed_only(ids: np.ndarray, segments: Sequence[Mapping]) -> np.ndarray:
    """Return (H, W) `ids` with 0 wherever the id is not that of one of `segments`."""
    return np.where(np.isin(ids, [s["id"] for s in segments]), ids, 0)


def add_pseudo_labels(
    ids: np.ndarray,
    kept: Sequence[Mapping],
    predicted_ids: np.ndarray,
    predicted: Sequence[Mapping],
    *,
    deleted: Collection[int],
    categories: Sequence[PanopticCategory],
    thresholds: Thresholds,
) -> tuple[np.ndarray, list[dict]]:
    """Fill pixels that are void after deletion with predicted segments of the deleted classes.

    Kept segments do not change. A deleted thing gets the first free id of 1000 · label id + k, a deleted stuff class
    its label id; predicted segments of one stuff class are one segment, whose score is the largest.

    Args:
        ids: (H, W) segment ids; those that are not in `kept` are void.
        kept: the segments after deletion, each with id and category_id (0 to K - 1).
        predicted_ids: (H, W) segment ids of a prediction; those that are not in `predicted` are void.
        predicted: each with id, category_id (0 to K - 1) and score; only those of deleted classes are used.
        deleted: contiguous ids of the deleted classes.
        categories: (K,) the classes in the order of contiguous ids.
        thresholds: the least that a predicted segment needs.

    Returns:
        (H, W) int32 segment ids, 0 = void, and the segments: those of `kept` in their order, each with ``score`` None
        and ``origin`` "ground_truth", then the new ones, as in a record, with ``score`` and ``origin`` "zero_shot".

    Raises:
        ValueError: the two maps differ in size.
    """
    if ids.shape != predicted_ids.shape:
        raise ValueError(f"The prediction has {predicted_ids.shape} pixels, but the annotation {ids.shape} (H, W).")
    kept_ids = listed_only(ids, kept)
    segments = [{**s, "score": None, "origin": GROUND_TRUTH} for s in kept]
    used = {s["id"] for s in kept}
    is_void, values, lengths = run_lengths(kept_ids == 0, predicted_ids)
    starts = np.cumsum(lengths) - lengths
    added = np.zeros(len(values), np.int32)  # the new id of each run
    for category, members, score in _candidates(predicted, deleted, categories):
        inside = np.isin(values, members)
        visible = inside & is_void
        area, whole = int(lengths[visible].sum()), int(lengths[inside].sum())
        if not (score >= thresholds.min_score and area >= max(thresholds.min_area, 1)):
            continue
        if area < thresholds.min_visible * whole:
            continue
        number = _free_id(categories[category], used)
        used.add(number)
        added[visible] = number
        segments.append(
            {
                "id": number,
                "category_id": category,
                "iscrowd": 0,
                "isthing": categories[category].isthing,
                "area": area,
                "bbox": _bounding_box(starts[visible], lengths[visible], ids.shape[1]),
                "score": round(score, 6),
                "origin": ZERO_SHOT,
            }
        )
    # Runs with a new id are void in `kept_ids`, so the sum never mixes two ids.
    return (kept_ids + np.repeat(added, lengths).reshape(ids.shape)).astype(np.int32), segments


def _free_id(category: PanopticCategory, used: Collection[int]) -> int:
    """Return a segment id that is not in `used`, and is not 0, which is void."""
    things = count(1000 * category.id)
    numbers = things if category.isthing else chain([category.id], things)
    return next(i for i in numbers if i and i not in used)


def _candidates(
    predicted: Sequence[Mapping], deleted: Collection[int], categories: Sequence[PanopticCategory]
) -> Iterator[tuple[int, list[int], float]]:
    """Yield class, ids and score of each predicted thing, and of each stuff class as a whole, in predicted order."""
    found: dict[tuple, tuple[int, list[int], float]] = {}
    for segment in predicted:
        category, number, score = int(segment["category_id"]), int(segment["id"]), float(segment["score"])
        if category not in deleted:
            continue
        key = (category, number) if categories[category].isthing else (category,)
        _, members, best = found.get(key, (category, [], score))
        found[key] = category, [*members, number], max(best, score)
    yield from found.values()


def _bounding_box(starts: np.ndarray, lengths: np.ndarray, width: int) -> list[int]:
    """Return ``[x, y, width, height]`` of runs of pixels, row after row, in an image `width` pixels wide."""
    ends = starts + lengths - 1
    top, bottom = int(starts.min()) // width, int(ends.max()) // width
    # A run that continues in the next row holds both the last and the first column.
    over = starts // width != ends // width
    left = int(np.where(over, 0, starts % width).min())
    right = int(np.where(over, width - 1, ends % width).max())
    return [left, top, right - left + 1, bottom - top + 1]
