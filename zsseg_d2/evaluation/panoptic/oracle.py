"""Oracles: panoptic maps with the classes or the masks of the ground truth, to see which of them costs quality."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from .evaluator import PanopticQualityEvaluator
from .panoptic_counts import PanopticCounts, count_image, overlap_areas


def true_classes(
    gt_ids: np.ndarray, gt_segments: Sequence[Mapping], pred_ids: np.ndarray, pred_segments: Sequence[Mapping]
) -> list[int]:
    """Return the class of the annotated segment that each predicted one overlaps most.

    Args:
        gt_ids: (H, W) integers; pixels whose id is not in `gt_segments` are void.
        gt_segments: each with id and category_id.
        pred_ids: (H, W) integers, 0 = void.
        pred_segments: each with id and category_id.

    Returns:
        One class per predicted segment; its own where it overlaps void alone.

    >>> gt = np.array([[1, 1, 2, 0]])
    >>> prediction = np.array([[5, 5, 5, 6]])
    >>> true_classes(
    ...     gt,
    ...     [{"id": 1, "category_id": 7}, {"id": 2, "category_id": 8}],
    ...     prediction,
    ...     [{"id": 5, "category_id": 8}, {"id": 6, "category_id": 3}],
    ... )
    [7, 3]
    """
    own = [int(s["category_id"]) for s in pred_segments]
    if not (len(gt_segments) and len(pred_segments)):
        return own
    ids = [np.array([s["id"] for s in segments], dtype=np.int64) for segments in (gt_segments, pred_segments)]
    shared = overlap_areas(gt_ids, ids[0], pred_ids, ids[1])[1:, 1:]
    nearest = shared.argmax(0)
    return [
        int(gt_segments[nearest[j]]["category_id"]) if shared[:, j].any() else own[j] for j in range(len(pred_segments))
    ]


def with_classes(
    ids: np.ndarray, segments: Sequence[Mapping], classes: Sequence[int], things: Collection[int]
) -> tuple[np.ndarray, list[dict]]:
    """Give the segments of a map other classes; stuff segments of one class become one, as in the panoptic rule.

    Args:
        ids: (H, W) integers.
        segments: each with id; other pixels become void.
        classes: one per segment.
        things: contiguous ids of thing classes.

    Returns:
        (H, W) ids, numbered from 1, 0 = void; and segments with id, category_id and isthing.
    """
    found, new = np.zeros(ids.shape, np.int64), list[dict]()
    stuff: dict[int, int] = {}
    for segment, k in zip(segments, classes):
        number = stuff.get(k)
        if number is None:
            number = len(new) + 1
            new.append({"id": number, "category_id": k, "isthing": k in things})
            if k not in things:
                stuff[k] = number
        found[ids == segment["id"]] = number
    return found, new


class TrueClassEvaluator(PanopticQualityEvaluator):
    """Compute panoptic quality of predicted masks with true classes (see :func:`true_classes`)."""

    title, task, file_name = "True classes, predicted masks", "true_classes", "true_classes.json"

    def _count(self, truth: np.ndarray, segments: Sequence[Mapping], output: Mapping) -> PanopticCounts:
        ids, found = self._prediction(output["panoptic_seg"])
        named = with_classes(ids, found, true_classes(truth, segments, ids, found), self._things)
        return count_image(truth, segments, *named, len(self._names))


class TrueMaskEvaluator(PanopticQualityEvaluator):
    """Compute panoptic quality of a model that was given the masks, and predicted their classes."""

    title, task, file_name = "True masks, predicted classes", "true_masks", "true_masks.json"
