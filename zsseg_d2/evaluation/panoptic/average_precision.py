"""Average precision of the instances by pycocotools, against the panoptic annotation."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.structures import Instances
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Annotations = list[dict[str, Any]]


def truth_annotations(ids: np.ndarray, segments: Sequence[Mapping], things: Collection[int]) -> Annotations:
    """Return the things of an image as COCO annotations, crowds marked.

    Args:
        ids: (H, W) segment ids.
        segments: ``{id, category_id, iscrowd}`` of each segment, category ids in [0, K).
        things: contiguous ids of thing classes.
    """
    chosen = [s for s in segments if s["category_id"] in things and (ids == s["id"]).any()]
    return [_annotation(ids == s["id"], int(s["category_id"]), iscrowd=int(s["iscrowd"])) for s in chosen]


def predicted_annotations(instances: Instances, things: Collection[int]) -> Annotations:
    """Return the instances of an image as COCO results.

    Args:
        instances: ``pred_masks`` (n, H, W), ``pred_classes`` (n,) in [0, K) and ``scores`` (n,).
        things: contiguous ids of thing classes; other instances are left out.
    """
    classes, scores = instances.pred_classes.tolist(), instances.scores.tolist()
    kept = [k for k, label in enumerate(classes) if label in things]
    masks = {k: instances.pred_masks[k].cpu().numpy() > 0 for k in kept}
    return [_annotation(masks[k], classes[k], score=scores[k]) for k in kept]


def average_precision(
    images: Sequence[tuple[Annotations, Annotations]], num_classes: int, things: Collection[int]
) -> dict[str, np.ndarray]:
    """Compute COCO's average precision of masks, with at most 100 instances an image and a class.

    Args:
        images: truth and prediction of each image.
        num_classes: K.
        things: contiguous ids of thing classes.

    Returns:
        ``AP`` (mean over overlaps of 0.5 to 0.95), ``AP50`` and ``AP75`` of each class (K,) in percent, NaN for a class
        without an instance in the annotation.
    """
    classes = sorted(things)
    found = {key: np.full(num_classes, np.nan) for key in ("AP", "AP50", "AP75")}
    if not classes:
        return found
    with contextlib.redirect_stdout(io.StringIO()):
        truth, predicted = (_index([pair[side] for pair in images], classes) for side in (0, 1))
        evaluation = COCOeval(truth, predicted, "segm")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (overlaps, recalls, classes), all areas, 100 instances
    for key, chosen in (("AP", precision), ("AP50", precision[:1]), ("AP75", precision[5:6])):
        for position, k in enumerate(classes):
            if (chosen[:, :, position] > -1).any():
                found[key][k] = 100 * chosen[:, :, position].mean()
    return found


def _annotation(mask: np.ndarray, label: int, **more: float) -> dict[str, Any]:
    encoded = rle.encode(np.asfortranarray(mask, np.uint8))
    return {
        "segmentation": encoded,
        "category_id": label,
        "area": float(rle.area(encoded)),
        "bbox": rle.toBbox(encoded).tolist(),
        "iscrowd": 0,
        **more,
    }


def _index(annotations: Sequence[Annotations], classes: Sequence[int]) -> COCO:
    """Make the object that pycocotools would read from a file; image ids are positions."""
    numbered = [{**entry, "image_id": image} for image, listed in enumerate(annotations) for entry in listed]
    coco = COCO()
    size = {"height": 0, "width": 0}  # looked up for every mask, but used for polygons alone
    coco.dataset = {
        "images": [{"id": image, **size} for image in range(len(annotations))],
        "annotations": [{**entry, "id": number} for number, entry in enumerate(numbered, start=1)],
        "categories": [{"id": k} for k in classes],
    }
    coco.createIndex()
    return coco
