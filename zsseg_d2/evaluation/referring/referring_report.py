"""Report referring segmentation: all scores, scores by subset, and a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from tabulate import tabulate

from .metrics import (
    ACCURACY_AT,
    THRESHOLDS,
    CountTable,
    choose_threshold,
    clipseg_scores,
    official_scores,
    pixel_scores,
    threshold_index,
)
from .subsets import SUBSETS

SCORES = (
    "mean_iou",
    "cum_iou",
    *(f"acc@{limit}" for limit in ACCURACY_AT),
    "pixel_accuracy",
    "dice",
    "iou_fg",
    "iou_bin",
    "miou",
    "ap",
)


def all_scores(table: CountTable, threshold: float) -> dict[str, float]:
    """Compute every score of :mod:`.metrics` at one threshold, in percent."""
    return {
        **official_scores(table, threshold),
        **pixel_scores(table, threshold),
        **clipseg_scores(table, threshold),
    }


def referring_report(table: CountTable, subsets: Sequence[Sequence[str]], threshold: float) -> dict:
    """Compute the scores in total and by subset.

    Args:
        table: counts of N tasks.
        subsets: for each of the N tasks, the names of its subsets.
        threshold: one of 0.01, 0.02, …, 0.99.

    Returns:
        :data:`SCORES` of all tasks in percent; ``threshold``; ``empty_truth`` and ``empty_prediction``, numbers of
        tasks; ``subsets``: by name ``n`` and the official scores (NaN if n = 0).
    """
    members = {name: np.array([name in found for found in subsets], bool) for name in SUBSETS}
    return {
        **all_scores(table, threshold),
        "threshold": threshold,
        "empty_truth": int((table.truth == 0).sum()),
        "empty_prediction": int((table.predicted[:, threshold_index(threshold)] == 0).sum()),
        "subsets": {
            name: {"n": int(chosen.sum()), **official_scores(table[chosen], threshold)}
            for name, chosen in members.items()
        },
    }


def baseline_report(table: CountTable, threshold: float) -> dict:
    """Compute ``n`` and the official scores of predictions for another phrase about the same image (NaN if n = 0)."""
    return {"n": len(table), **official_scores(table, threshold)}


def sweep_report(table: CountTable, split: str) -> dict:
    """Find the best threshold of a validation split by each metric, with the scores at all thresholds in percent.

    Raises:
        ValueError: `split` is not a validation split, see :func:`.metrics.choose_threshold`.
    """
    report: dict = {"thresholds": THRESHOLDS.tolist()}
    for metric in ("mean_iou", "cum_iou", "dice"):
        best, curve = choose_threshold(table, split, metric)
        report[metric] = {"best_threshold": best, "best": max(curve), "curve": curve}
    return report


def format_table(report: dict) -> str:
    """Format the scores of all tasks, then one row per subset that has tasks, and last the shuffled-phrase baseline."""

    def cells(scores: dict, columns: Sequence[str]) -> list[str]:
        return ["-" if math.isnan(scores[key]) else f"{scores[key]:.2f}" for key in columns]

    overall = list(zip(SCORES, cells(report, SCORES)))
    first = tabulate(
        overall, ["score", f"at > {report['threshold']:g}"], colalign=("left", "right"), disable_numparse=True
    )
    columns = ("mean_iou", "cum_iou", "acc@0.5", "acc@0.7", "acc@0.9")
    parts = {**report["subsets"], "shuffled phrase": report.get("shuffled_phrase_baseline", {"n": 0})}
    rows = [[name, str(s["n"]), *cells(s, columns)] for name, s in parts.items() if s["n"]]
    if not rows:
        return first
    aligned = ("left", *["right"] * (len(columns) + 1))
    return f"{first}\n\n{tabulate(rows, ['subset', 'n', *columns], colalign=aligned, disable_numparse=True)}"
