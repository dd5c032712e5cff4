"""Measures beside panoptic quality, on request: mIoU of the semantic output and AP of the instances."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from .average_precision import average_precision, predicted_annotations, truth_annotations
from .mean_iou import class_iou, count_pixels

MEASURES = {"mIoU": "sem_seg", "AP": "instances"}
"""Name of a measure -> the part of a model's results that it scores."""


class BesideMeasures:
    """What is counted of each image, and the scores of all images.

    Args:
        wanted: of :data:`MEASURES`.
        num_classes: K.
        things: contiguous ids of thing classes.

    Raises:
        ValueError: there is no such measure.
    """

    def __init__(self, wanted: Sequence[str], num_classes: int, things: Collection[int]) -> None:
        unknown = next((name for name in wanted if name not in MEASURES), None)
        if unknown is not None:
            raise ValueError(f"There is no measure {unknown!r}. Fix: choose of {', '.join(MEASURES)}.")
        self.wanted = tuple(dict.fromkeys(wanted))
        self._num_classes, self._things = num_classes, frozenset(things)

    def count(self, truth: np.ndarray, segments: Sequence[Mapping], output: Mapping) -> dict[str, Any]:
        """Return what is needed of an image, a few numbers or run lengths.

        Args:
            truth: (H, W) segment ids.
            segments: of the truth.
            output: ``sem_seg`` (K, H, W) and ``instances``, where they are asked for.

        Raises:
            ValueError: the output lacks a part, or has another size.
        """
        found: dict[str, Any] = {}
        for name in self.wanted:
            if MEASURES[name] not in output:
                raise ValueError(f"the model has no '{MEASURES[name]}', which {name} scores")
            if name == "mIoU":
                classes = output["sem_seg"].argmax(0).cpu().numpy()
                found[name] = count_pixels(truth, segments, classes, self._num_classes)
            else:
                expected = truth_annotations(truth, segments, self._things)
                found[name] = (expected, predicted_annotations(output["instances"], self._things))
        return found

    def scores(self, counts: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Return the scores of each class (K,) in percent by name, NaN where there is none."""
        found: dict[str, np.ndarray] = {}
        if "mIoU" in self.wanted:
            found["IoU"] = class_iou(reduce(add, (image["mIoU"] for image in counts)))
        if "AP" in self.wanted:
            found |= average_precision([image["AP"] for image in counts], self._num_classes, self._things)
        return found


def add_to_report(report: dict, scores: Mapping[str, np.ndarray], members: Mapping[str, Sequence[int]]) -> None:
    """Add scores to a report of panoptic quality: those of each class, and their means over each group.

    Args:
        report: see :func:`zsseg_d2.evaluation.panoptic.report.panoptic_report`.
        scores: (K,) by name.
        members: contiguous ids of each group.
    """
    for name, values in scores.items():
        for k, row in enumerate(report["per_class"].values()):
            row[name] = float(values[k])
        for group, classes in members.items():
            known = [values[k] for k in classes if not np.isnan(values[k])]
            report[group]["mIoU" if name == "IoU" else name] = float(np.mean(known)) if known else float("nan")
