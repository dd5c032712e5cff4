"""Masks and class scores to semantic, panoptic and instance results. Pure functions, one image at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from .upsampling import Upsampler

_CHUNK = 1 << 24  # mask logits upsampled at a time: 64 MB in float32
_BLOCK = {"cpu": 1 << 20}  # mask logits compared at a time: what a CPU's cache holds; elsewhere _CHUNK
_GROUP = 16  # queries of which the best is found first, without asking which: a maximum alone is many times faster


def _chunks(masks: Tensor, upsample: Upsampler) -> Iterator[tuple[int, Tensor]]:
    step = max(1, _CHUNK // (upsample.output[0] * upsample.output[1]))
    for start in range(0, len(masks), step):
        yield start, upsample(masks[start : start + step])


def semantic_inference(class_log_probs: Tensor, masks: Tensor, upsample: Upsampler) -> Tensor:
    """Σ_q p_q(c) · sigmoid(mask_q) (Cheng et al. 2021, section 3.4).

    Args:
        class_log_probs: (Q, K + 1), void last. masks: (Q, h, w) logits. upsample: to (H, W).

    Returns:
        (K, H, W).
    """
    scores = class_log_probs.softmax(-1)[:, :-1]
    total = masks.new_zeros(scores.shape[1], *upsample.output)
    for start, chunk in _chunks(masks, upsample):
        total += torch.einsum("qk,qhw->khw", scores[start : start + len(chunk)], chunk.sigmoid())
    return total


def panoptic_inference(
    class_log_probs: Tensor,
    masks: Tensor,
    upsample: Upsampler,
    things: Collection[int],
    object_mask_threshold: float = 0.0,
    overlap_threshold: float = 0.8,
) -> tuple[Tensor, list[dict]]:
    """Each pixel goes to the query with the largest class score × mask probability (Cheng et al. 2021, section 3.4).

    Queries that are void or below ``object_mask_threshold`` are dropped before any mask is upsampled. A segment is the
    pixels that a query wins and where its mask is at least 0.5; the query must win at least ``overlap_threshold`` of its
    mask's area. Stuff segments of one class merge.

    Args:
        class_log_probs: (Q, K + 1), void last. masks: (Q, h, w) logits. upsample: to (H, W).
        things: contiguous ids of thing classes.

    Returns:
        (H, W) int32 map, 0 where no segment is, and a dict ``{"id", "isthing", "category_id", "score"}`` a segment.
    """
    scores, labels = class_log_probs.softmax(-1).max(-1)
    kept = (labels != class_log_probs.shape[-1] - 1) & (scores > object_mask_threshold)
    scores, labels, kept = scores[kept], labels[kept], kept.nonzero()[:, 0]
    count = len(labels)
    if count == 0:
        return torch.zeros(upsample.output, dtype=torch.int32, device=masks.device), []

    winner, inside, area = argmax_masks(scores, masks, kept, upsample)
    won = torch.bincount(winner.flatten(), minlength=count)
    won_inside = torch.bincount(winner[inside], minlength=count)
    # The only transfer to the host: a few numbers a query.
    table = torch.stack((labels, area, won, won_inside)).tolist()
    ids, segments = _number_segments(table, scores.tolist(), frozenset(things), overlap_threshold)
    lookup = torch.tensor(ids, dtype=torch.int32, device=masks.device)
    return lookup[winner] * inside, segments


def argmax_masks(scores: Tensor, masks: Tensor, queries: Tensor, upsample: Upsampler) -> tuple[Tensor, Tensor, Tensor]:
    """Who wins each pixel, by score × mask probability; the first of equals does.

    Args:
        scores: (q,). masks: (Q, h, w) logits. queries: (q,) which of the masks compete.

    Returns:
        (H, W) int64 winners, from 0 to q - 1, (H, W) bool whether the winner's own mask is at least 0.5 there, and (q,) int64 areas of the
        masks where they are at least 0.5.
    """
    count, groups = len(queries), -(-len(queries) // _GROUP)
    winner = torch.empty(upsample.output, dtype=torch.int64, device=masks.device)
    inside = torch.empty(upsample.output, dtype=torch.bool, device=masks.device)
    area = torch.zeros(count, dtype=torch.int64, device=masks.device)
    scores = scores[:, None, None]
    grouped = at_least_half = masks.new_empty(0)
    for place, block in upsample.blocks(masks, queries, _BLOCK.get(masks.device.type, _CHUNK)):
        if grouped.shape[1:] != block.shape[1:]:
            grouped = masks.new_full((groups * _GROUP, *block.shape[1:]), -1.0)  # the last group may lack some
            at_least_half = torch.empty_like(block)
        torch.ge(block.sigmoid_(), 0.5, out=at_least_half)
        area += at_least_half.sum((1, 2)).long()  # exact: a block's rows and columns are far fewer than 2^24
        torch.mul(block, scores, out=grouped[:count])
        members = grouped.unflatten(0, (groups, _GROUP))
        group = members.amax(1).max(0).indices[None]
        best = group * _GROUP + members.gather(0, group[None].expand(1, _GROUP, -1, -1))[0].max(0).indices
        winner[place] = best[0]
        inside[place] = at_least_half.gather(0, best)[0] > 0
    return winner, inside, area


def _number_segments(
    table: list[list[int]], scores: list[float], things: frozenset[int], overlap_threshold: float
) -> tuple[list[int], list[dict]]:
    """Segment id of every query (0: dropped) from labels, mask areas, won areas and their intersection."""
    ids, segments, stuff = [0] * len(scores), [], {}
    for query, (label, area, won, won_inside) in enumerate(zip(*table)):
        if not (area and won and won_inside) or won / area < overlap_threshold:
            continue
        if label in stuff:
            ids[query] = stuff[label]
            segment = segments[stuff[label] - 1]
            segment["score"] = max(segment["score"], scores[query])
            continue
        ids[query] = len(segments) + 1
        thing = label in things
        if not thing:
            stuff[label] = ids[query]
        segments.append({"id": ids[query], "isthing": thing, "category_id": label, "score": scores[query]})
    return ids, segments


def instance_inference(
    class_log_probs: Tensor, masks: Tensor, upsample: Upsampler, things: Collection[int] | None, top: int
) -> Instances:
    """The ``top`` best (query, class) pairs as instances; score = class score × mean mask probability inside the mask.

    Args:
        class_log_probs: (Q, K + 1), void last. masks: (Q, h, w) logits. upsample: to (H, W).
        things: keep only these classes; None keeps all.
        top: at most this many; fewer where Q · K is smaller.
    """
    scores = class_log_probs.softmax(-1)[:, :-1]
    best, flat = scores.flatten().topk(min(top, scores.numel()), sorted=False)
    query, label = flat // scores.shape[1], flat % scores.shape[1]
    if things is not None:
        keep = torch.isin(label, torch.tensor(sorted(things), device=label.device, dtype=label.dtype))
        best, query, label = best[keep], query[keep], label[keep]
    unique, inverse = query.unique(return_inverse=True)
    binary, quality = [masks.new_zeros(0, *upsample.output, dtype=torch.bool)], [masks.new_zeros(0)]
    for _, chunk in _chunks(masks[unique], upsample):
        positive = chunk > 0
        area = positive.sum((-1, -2))
        binary.append(positive)
        quality.append((chunk.sigmoid() * positive).sum((-1, -2)) / (area + 1e-6))
    result = Instances(upsample.output)
    result.pred_masks = torch.cat(binary)[inverse].float()
    result.pred_boxes = Boxes(torch.zeros(len(label), 4, device=masks.device))
    result.scores = best * torch.cat(quality)[inverse]
    result.pred_classes = label
    return result
