"""Merge two panoptic maps of one image: the naive intersection. Pure functions.

All decisions are made per *pair* of claims, not per pixel. With I In and O Out segments, each pixel has one of
(I + 1)·(O + 1) pairs, where claim 0 is none. Tables over pairs hold how many pixels have it, who wins, and the new id.

Road (class 0) fills a 2 x 2 image in the In map. The Out map has a car (class 1) on the right and a person
(class 2) in one of its pixels.

>>> road = {"id": 1, "category_id": 0, "isthing": False}
>>> car = {"id": 7, "category_id": 1, "isthing": True}
>>> person = {"id": 9, "category_id": 2, "isthing": True}
>>> in_map = torch.tensor([[1, 1], [1, 1]]), [road]
>>> out_map = torch.tensor([[0, 7], [0, 9]]), [car, person]

The claims are ``[[1, 1], [1, 1]]`` and ``[[0, 1], [0, 2]]``, so that the pairs of (In, Out) claims share these
numbers of pixels, and by "out_first" these are their winners and new ids (road 1, car 2, person 3)::

                pixels    winner    new id
    Out claim   0  1  2   0  1  2   0  1  2
    In claim 0  0  0  0   -  O  O   0  2  3
    In claim 1  2  1  1   I  O  O   1  2  3

>>> merged, segments = merge_panoptic(in_map, out_map, out_classes={1, 2})
>>> merged.tolist(), [(s["id"], s["category_id"]) for s in segments]
([[1, 2], [1, 3]], [(1, 0), (2, 1), (3, 2)])

By "in_first" road wins every pair. Car and person keep no pixel and leave the map.

>>> merge_panoptic(in_map, out_map, {1, 2}, "in_first")[0].tolist()
[[1, 1], [1, 1]]
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from ..registry import did_you_mean

PRIORITIES = ("out_first", "in_first", "score")
"""Which map gets a pixel that both claim."""

Segment = dict[str, Any]
"""``id``, ``category_id``, ``isthing``, and usually ``score``."""


def merge_panoptic(
    in_map: tuple[Tensor, Sequence[Segment]],
    out_map: tuple[Tensor, Sequence[Segment]],
    out_classes: Collection[int],
    priority: str = "out_first",
    min_visible: float = 0.5,
) -> tuple[Tensor, list[Segment]]:
    """Merge the In segments of one map and the Out segments of another into one valid panoptic map.

    Each pixel goes to one segment: where both maps claim it, to the Out segment, to the In segment, or to the one with
    the higher score (ties: Out). A segment that keeps less than ``min_visible`` of its pixels leaves the map, and its
    pixels go to the other claim where there is one. Stuff of one class is one segment.

    Args:
        in_map, out_map: (H, W) segment ids, 0 = none, and the segments.
        out_classes: contiguous ids of the Out classes; all others are In.
        priority: one of :data:`PRIORITIES`.
        min_visible: share in [0, 1].

    Returns:
        (H, W) int32 map, and the segments, numbered from 1, with the keys that they had.

    Raises:
        ValueError: If ``priority`` is unknown.
    """
    if priority not in PRIORITIES:
        raise ValueError(
            f"ZSSEG.MERGE.PRIORITY='{priority}': unknown priority.{did_you_mean(priority, PRIORITIES)} "
            f"Fix: choose one of {', '.join(PRIORITIES)}."
        )
    out_ids = frozenset(out_classes)
    in_claims, in_segments = _claims(*in_map, lambda s: s["category_id"] not in out_ids)
    out_claims, out_segments = _claims(*out_map, lambda s: s["category_id"] in out_ids)
    rows, columns = len(in_segments) + 1, len(out_segments) + 1
    pairs = in_claims * columns + out_claims
    # The only transfer to the host: the number of pixels of each pair.
    pixels = torch.bincount(pairs.flatten(), minlength=rows * columns).view(rows, columns).cpu()
    in_wins = _in_wins(in_segments, out_segments, priority)
    keep_in = _visible(torch.where(in_wins, pixels, 0).sum(1), pixels.sum(1), min_visible)
    keep_out = _visible(torch.where(in_wins, 0, pixels).sum(0), pixels.sum(0), min_visible)
    new_in, new_out, segments = _number(in_segments, keep_in, out_segments, keep_out)
    # Dropped segments (new id 0) leave their pixels to the other claim.
    in_wins = (in_wins | (new_out[None] == 0)) & (new_in[:, None] != 0)
    new_ids = torch.where(in_wins, new_in[:, None], new_out[None])
    merged = new_ids.to(pairs.device).flatten()[pairs]
    present = set(new_ids[pixels > 0].tolist())
    return merged.to(torch.int32), [s for s in segments if s["id"] in present]


def _claims(
    ids: Tensor, segments: Sequence[Segment], wanted: Callable[[Segment], bool]
) -> tuple[Tensor, list[Segment]]:
    """Number the wanted segments of a map.

    Returns:
        (H, W) int64 claims, i + 1 for the i-th wanted segment, 0 for none; and those segments.
    """
    chosen = [s for s in segments if wanted(s)]
    largest = int(ids.max()) if ids.numel() else 0
    lookup = torch.zeros(max([largest, *(s["id"] for s in chosen)]) + 1, dtype=torch.int64)
    for claim, segment in enumerate(chosen, start=1):
        lookup[segment["id"]] = claim
    return lookup.to(ids.device)[ids.long()], chosen


def _in_wins(in_segments: Sequence[Segment], out_segments: Sequence[Segment], priority: str) -> Tensor:
    """Return (I + 1, O + 1) bool, whether the In claim of a pair gets its pixels."""
    wins = torch.zeros(len(in_segments) + 1, len(out_segments) + 1, dtype=torch.bool)
    wins[:, 0] = True
    if priority == "in_first":
        wins[1:] = True
    elif priority == "score":
        in_scores, out_scores = (
            torch.tensor([s.get("score", 1.0) for s in segments]) for segments in (in_segments, out_segments)
        )
        wins[1:, 1:] = in_scores[:, None] > out_scores[None]
    return wins


def _visible(kept: Tensor, area: Tensor, least: float) -> Tensor:
    """Return whether each claim keeps enough of its pixels, and any at all."""
    return (kept > 0) & (kept >= least * area)


def _number(
    in_segments: Sequence[Segment], keep_in: Tensor, out_segments: Sequence[Segment], keep_out: Tensor
) -> tuple[Tensor, Tensor, list[Segment]]:
    """Number the kept segments from 1; stuff of one class shares an id.

    Returns:
        New ids by In claim and by Out claim (0 if dropped, and for no claim), and the segments.
    """
    segments: list[Segment] = []
    stuff: dict[int, Segment] = {}

    def number(old: Sequence[Segment], keep: Tensor) -> Tensor:
        new_ids = torch.zeros(len(old) + 1, dtype=torch.int64)
        for claim, segment in enumerate(old, start=1):
            if not keep[claim]:
                continue
            same = None if segment["isthing"] else stuff.get(segment["category_id"])
            if same is None:
                same = {**segment, "id": len(segments) + 1}
                segments.append(same)
                if not segment["isthing"]:
                    stuff[segment["category_id"]] = same
            else:
                same["score"] = max(same.get("score", 1.0), segment.get("score", 1.0))
            new_ids[claim] = same["id"]
        return new_ids

    return number(in_segments, keep_in), number(out_segments, keep_out), segments
