"""Two panoptic maps to one: the naive intersection. Pure functions on one image."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

PRIORITIES = ("out_first", "in_first", "score")
"""Who gets a pixel that both maps claim."""


def merge_panoptic(
    in_map: tuple[Tensor, Sequence[dict]],
    out_map: tuple[Tensor, Sequence[dict]],
    out_classes: Collection[int],
    priority: str = "out_first",
    min_visible: float = 0.5,
) -> tuple[Tensor, list[dict]]:
    """In segments of one map and Out segments of the other, in one valid panoptic map.

    Each pixel goes to one segment: where both claim it, to the Out segment, to the In segment, or to the one with the
    higher score (ties: Out). A segment that keeps less than ``min_visible`` of its pixels leaves the map, and its pixels
    go to the other claim where there is one. Stuff of one class is one segment.

    Args:
        in_map, out_map: ((H, W) segment ids, 0 = none; segments with ``id``, ``category_id``, ``isthing`` and ``score``).
        out_classes: contiguous ids of the Out classes; all others are In.
        priority: one of :data:`PRIORITIES`.

    Returns:
        ((H, W) int32 map, segments numbered from 1), each segment with the keys it had.

    Raises:
        ValueError: ``priority`` is unknown.
    """
    if priority not in PRIORITIES:
        raise ValueError(f"There is no merge priority '{priority}'; choose one of {', '.join(PRIORITIES)}.")
    gone = frozenset(out_classes)
    ins, in_segments = _claims(*in_map, lambda s: s["category_id"] not in gone)
    outs, out_segments = _claims(*out_map, lambda s: s["category_id"] in gone)
    columns = len(out_segments) + 1
    both = ins * columns + outs
    # The only transfer to the host: how many pixels each pair of segments shares.
    shared = torch.bincount(both.flatten(), minlength=(len(in_segments) + 1) * columns).view(-1, columns).cpu()
    in_wins = torch.zeros(len(in_segments) + 1, columns, dtype=torch.bool)
    in_wins[:, 0] = True
    if priority == "in_first":
        in_wins[1:] = True
    elif priority == "score":
        scores = [torch.tensor([s.get("score", 1.0) for s in segments]) for segments in (in_segments, out_segments)]
        in_wins[1:, 1:] = scores[0][:, None] > scores[1][None]
    in_wins[0, 1:] = False
    keep_in = _visible(torch.where(in_wins, shared, 0).sum(1), shared.sum(1), min_visible)
    keep_out = _visible(torch.where(in_wins, 0, shared).sum(0), shared.sum(0), min_visible)
    number_in, number_out, segments = _number(in_segments, keep_in, out_segments, keep_out)
    in_wins = (in_wins | (number_out[None] == 0)) & (number_in[:, None] != 0)
    ids = torch.where(in_wins, number_in[:, None], number_out[None])
    present = set(ids[shared > 0].tolist())
    lost = [s["id"] for s in segments if s["id"] not in present]
    merged = ids.to(both.device).flatten()[both]
    return merged.to(torch.int32), [s for s in segments if s["id"] not in lost]


def _claims(ids: Tensor, segments: Sequence[dict], wanted) -> tuple[Tensor, list[dict]]:
    """(H, W) 0 = no claim, i + 1 = the i-th wanted segment; and those segments."""
    chosen = [s for s in segments if wanted(s)]
    largest = int(ids.max()) if ids.numel() else 0
    lookup = torch.zeros(max([largest, *(s["id"] for s in chosen)]) + 1, dtype=torch.int64)
    for place, segment in enumerate(chosen, start=1):
        lookup[segment["id"]] = place
    return lookup.to(ids.device)[ids.long()], chosen


def _visible(kept: Tensor, area: Tensor, least: float) -> Tensor:
    return (kept > 0) & (kept >= least * area)


def _number(in_segments, keep_in, out_segments, keep_out) -> tuple[Tensor, Tensor, list[dict]]:
    """New ids of In and Out claims (0: dropped, and for no claim), and the segments; stuff of one class shares an id."""
    segments: list[dict] = []
    stuff: dict[int, dict] = {}
    numbers = []
    for old, keep in ((in_segments, keep_in), (out_segments, keep_out)):
        number = torch.zeros(len(old) + 1, dtype=torch.int64)
        for place, segment in enumerate(old, start=1):
            if not keep[place]:
                continue
            known = None if segment["isthing"] else stuff.get(segment["category_id"])
            if known is None:
                known = {**segment, "id": len(segments) + 1}
                segments.append(known)
                if not segment["isthing"]:
                    stuff[segment["category_id"]] = known
            else:
                known["score"] = max(known.get("score", 1.0), segment.get("score", 1.0))
            number[place] = known["id"]
        numbers.append(number)
    return numbers[0], numbers[1], segments
