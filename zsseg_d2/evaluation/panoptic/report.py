"""Report panoptic quality: scores by group of classes, a table and a JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from tabulate import tabulate

from ...files import atomic_path
from .panoptic_counts import PanopticCounts, class_quality, group_quality, harmonic_mean

_BESIDE = {"IoU": "mIoU", "AP": "AP", "AP50": "AP50", "AP75": "AP75"}  # of a class -> of a group
GROUPS = ("All", "In", "Out", "Things", "Stuff")


def panoptic_report(
    counts: PanopticCounts, names: Sequence[str], things: Collection[int], out: Collection[int]
) -> dict:
    """Average the scores over groups of classes.

    Args:
        counts: of the whole dataset, K classes.
        names: (K,) class names.
        things: contiguous ids of countable classes.
        out: contiguous ids of the classes whose labels were deleted in training.

    Returns:
        * ``All``, ``In``, ``Out``, ``Things``, ``Stuff``: ``{PQ, SQ, RQ}`` in percent and ``n``, the number of averaged
          classes (NaN and 0 for an empty group).
        * ``harmonic_mean`` of the PQ of In and Out.
        * ``per_class`` by name: ``{PQ, SQ, RQ}``, ``n`` annotated segments, ``tp``, ``fp``, ``fn``, ``group`` and
          ``isthing``. A class with ``tp = fp = fn = 0`` has zeros and is not averaged.

    >>> import numpy as np
    >>> counts = PanopticCounts(np.array([1.6, 0.6]), np.array([2, 1]), np.array([0, 0]), np.array([0, 1]))
    >>> report = panoptic_report(counts, ["road", "car"], things=[1], out=[1])
    >>> [(group, round(report[group]["PQ"], 2)) for group in ("All", "In", "Out")], round(report["harmonic_mean"], 2)
    ([('All', 60.0), ('In', 80.0), ('Out', 40.0)], 53.33)
    """
    quality = class_quality(counts)
    members = group_members(len(names), things, out)
    report: dict = {group: group_quality(quality, members[group]) for group in GROUPS}
    report["harmonic_mean"] = harmonic_mean(report["In"]["PQ"], report["Out"]["PQ"])
    report["per_class"] = {
        name: {
            **{key: float(quality[key][k]) for key in ("PQ", "SQ", "RQ")},
            "n": int(counts.tp[k] + counts.fn[k]),
            **{key: int(getattr(counts, key)[k]) for key in ("tp", "fp", "fn")},
            "group": "Out" if k in out else "In",
            "isthing": k in things,
        }
        for k, name in enumerate(names)
    }
    return report


def group_members(num_classes: int, things: Collection[int], out: Collection[int]) -> dict[str, list[int]]:
    """Return the contiguous ids of each of :data:`GROUPS`."""
    every = range(num_classes)
    return {
        "All": list(every),
        "In": [k for k in every if k not in out],
        "Out": [k for k in every if k in out],
        "Things": [k for k in every if k in things],
        "Stuff": [k for k in every if k not in things],
    }


def format_table(report: dict) -> str:
    """Format the report as a table: one row per class (n = annotated segments), then the groups (n = classes).

    Measures beside panoptic quality have columns of their own.
    """
    beside = {name: group for name, group in _BESIDE.items() if group in report["All"]}

    def row(name: str, kind: str, group: str, scores: dict, shown: bool, more: Iterable[str]) -> list[str]:
        values = [f"{scores[key]:.2f}" if shown else "-" for key in ("PQ", "SQ", "RQ")]
        return [name, kind, group, *values, str(scores["n"]), *(number(scores[key]) for key in more)]

    rows = []
    for name, scores in report["per_class"].items():
        shown = scores["tp"] + scores["fp"] + scores["fn"] > 0
        rows.append(row(name, "thing" if scores["isthing"] else "stuff", scores["group"], scores, shown, beside))
    rows.append(["-" * max(len(line[column]) for line in rows) for column in range(7 + len(beside))])
    rows += [row(group, "", "", report[group], report[group]["n"] > 0, beside.values()) for group in GROUPS]
    rows.append(["harmonic mean", "", "In, Out", number(report["harmonic_mean"]), *[""] * (3 + len(beside))])
    return tabulate(
        rows,
        headers=["class", "kind", "group", "PQ", "SQ", "RQ", "n", *beside],
        colalign=("left",) * 3 + ("right",) * (4 + len(beside)),
        disable_numparse=True,
    )


def number(value: float) -> str:
    """Format a score for a table, ``-`` where there is none."""
    return "-" if math.isnan(value) else f"{value:.2f}"


def write_json(path: Path, content: object) -> None:
    """Write `content` atomically; NaN, which JSON does not have, becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(_without_nan(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
