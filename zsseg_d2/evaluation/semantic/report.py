"""Report the scores of a semantic segmentation: by class, by group of classes, and a table."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from tabulate import tabulate

from ..panoptic.mean_iou import PixelCounts, class_iou
from ..panoptic.report import group_members, number

GROUPS = ("All", "In", "Out")


def semantic_report(counts: PixelCounts, names: Sequence[str], out: Collection[int]) -> dict:
    """Average the scores over groups of classes, as Detectron2's ``SemSegEvaluator`` does over all.

    Args:
        counts: of the whole dataset, K classes.
        names: (K,) class names.
        out: contiguous ids of the classes whose labels were deleted in training.

    Returns:
        * ``All``, ``In``, ``Out``: in percent ``mIoU``, the mean over classes that are in the truth or the prediction,
          and ``mACC``, the mean accuracy of classes that are in the truth; and ``n``, the number of classes that mIoU
          averages. NaN and 0 for an empty group.
        * of ``All`` also ``fwIoU``, the mean IoU weighted by the pixels of the truth, and ``pACC``, the accuracy of
          all pixels.
        * ``per_class`` by name: ``IoU``, ``accuracy``, ``pixels`` of the truth, and ``group``; NaN where there is none.

    >>> counts = PixelCounts(both=np.array([3, 0]), truth=np.array([4, 1]), predicted=np.array([3, 2]))
    >>> report = semantic_report(counts, ["road", "car"], out=[1])
    >>> [round(report[group]["mIoU"], 1) for group in ("All", "In", "Out")], report["All"]["pACC"]
    ([37.5, 75.0, 0.0], 60.0)
    """
    iou, truth = class_iou(counts), counts.truth
    accuracy = np.divide(100.0 * counts.both, truth, out=np.full(len(truth), np.nan), where=truth > 0)
    members = group_members(len(names), (), out)
    report: dict = {
        group: {
            "mIoU": _mean(iou[members[group]]),
            "mACC": _mean(accuracy[members[group]]),
            "n": int(np.isfinite(iou[members[group]]).sum()),
        }
        for group in GROUPS
    }
    total = int(truth.sum())
    report["All"]["fwIoU"] = float(np.nansum(iou * truth) / total) if total else float("nan")
    report["All"]["pACC"] = float(100.0 * counts.both.sum() / total) if total else float("nan")
    report["per_class"] = {
        name: {
            "IoU": float(iou[k]),
            "accuracy": float(accuracy[k]),
            "pixels": int(truth[k]),
            "group": "Out" if k in out else "In",
        }
        for k, name in enumerate(names)
    }
    return report


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def format_semantic_table(report: dict) -> str:
    """Format the report as a table: one row per class, then the groups."""
    rows = [
        [name, scores["group"], number(scores["IoU"]), number(scores["accuracy"]), str(scores["pixels"])]
        for name, scores in report["per_class"].items()
    ]
    rows.append(["-" * max(len(row[column]) for row in rows) for column in range(5)])
    for group in GROUPS:
        scores = report[group]
        rows.append([f"mean, {group}", "", number(scores["mIoU"]), number(scores["mACC"]), f"{scores['n']} classes"])
    rows.append(["by pixels", "", number(report["All"]["fwIoU"]), number(report["All"]["pACC"]), ""])
    return tabulate(
        rows,
        headers=["class", "group", "IoU", "accuracy", "pixels"],
        colalign=("left", "left", "right", "right", "right"),
        disable_numparse=True,
    )
