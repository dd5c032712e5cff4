"""Masks and class scores to semantic, panoptic and instance results. Pure functions, one image at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from .argmax_blocks import argmax_masks as argmax_masks_in_blocks
from .fast_forms import fast_form
from .upsampling import Upsampler

_CHUNK = 1 << 24  # mask logits upsampled at a time: 64 MB in float32
_SCORES = 1 << 28  # class scores of pixels that are compared at a time: 1 GB in float32


def _chunks(masks: Tensor, upsample: Upsampler) -> Iterator[tuple[int, Tensor]]:
    """Yield upsampled masks, and the index of the first, some masks at a time."""
    step = max(1, _CHUNK // (upsample.output[0] * upsample.output[1]))
    for start in range(0, len(masks), step):
        yield start, upsample(masks[start : start + step])


def semantic_inference(class_log_probs: Tensor, masks: Tensor, upsample: Upsampler) -> Tensor:
    """Score each class at each pixel: Σ_q p_q(c) · sigmoid(mask_q) (Cheng et al. 2021, section 3.4).

    Args:
        class_log_probs: (Q, K + 1), void last.
        masks: (Q, h, w) logits.
        upsample: to (H, W).

    Returns:
        (K, H, W).
    """
    return _summed(class_log_probs.softmax(-1)[:, :-1], masks, upsample)


def semantic_labels(class_log_probs: Tensor, masks: Tensor, upsample: Upsampler) -> Tensor:
    """Find the class with the largest score of :func:`semantic_inference` at each pixel, in bounded memory.

    Args:
        class_log_probs: (Q, K + 1), void last.
        masks: (Q, h, w) logits.
        upsample: to (H, W).

    Returns:
        (H, W) int32 in [0, K - 1].
    """
    scores = class_log_probs.softmax(-1)[:, :-1]
    step = max(1, _SCORES // (upsample.output[0] * upsample.output[1]))
    best, labels = _summed(scores[:, :step], masks, upsample).max(0)
    for start in range(step, scores.shape[1], step):
        others, index = _summed(scores[:, start : start + step], masks, upsample).max(0)
        labels = torch.where(others > best, index + start, labels)
        best = torch.maximum(best, others)
    return labels.int()


def _summed(scores: Tensor, masks: Tensor, upsample: Upsampler) -> Tensor:
    """Sum scores (Q, K) over the queries at each pixel: (K, H, W)."""
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
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Give each pixel to the query with the largest class score × mask probability (Cheng et al. 2021, section 3.4).

    Queries that are void or below ``object_mask_threshold`` are dropped before any mask is upsampled. A segment is the
    pixels that a query wins and where its mask is at least 0.5; the query must win at least ``overlap_threshold`` of
    its mask's area. Stuff segments of one class merge.

    Args:
        class_log_probs: (Q, K + 1), void last.
        masks: (Q, h, w) logits.
        upsample: to (H, W).
        things: contiguous ids of thing classes.
        object_mask_threshold: least class score, in [0, 1].
        overlap_threshold: least share of its mask's area that a query must win, in [0, 1].

    Returns:
        (H, W) int32 map, 0 where there is no segment, and a dict ``{"id", "isthing", "category_id", "score"}`` per
        segment.
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
    # The only transfer to the host: a few numbers per query.
    table = torch.stack((labels, area, won, won_inside)).tolist()
    ids, segments = _number_segments(table, scores.tolist(), frozenset(things), overlap_threshold)
    lookup = torch.tensor(ids, dtype=torch.int32, device=masks.device)
    return lookup[winner] * inside, segments


@fast_form(argmax_masks_in_blocks)
def argmax_masks(scores: Tensor, masks: Tensor, queries: Tensor, upsample: Upsampler) -> tuple[Tensor, Tensor, Tensor]:
    """Find the query that wins each pixel by score × mask probability; the first of equals.

    Args:
        scores: (q,) of the competing queries.
        masks: (Q, h, w) logits.
        queries: (q,) int64, which of the masks compete.
        upsample: to (H, W).

    Returns:
        (H, W) int64 winners, from 0 to q - 1; (H, W) bool, whether the winner's own mask is at least 0.5 there; (q,)
        int64 areas of the masks where they are at least 0.5.
    """
    probabilities = upsample(masks[queries]).sigmoid()
    winner = (scores[:, None, None] * probabilities).max(0).indices
    at_least_half = probabilities >= 0.5
    return winner, at_least_half.gather(0, winner[None])[0], at_least_half.sum((1, 2))


def _number_segments(
    table: list[list[int]], scores: list[float], things: frozenset[int], overlap_threshold: float
) -> tuple[list[int], list[dict[str, Any]]]:
    """Number the segments.

    Args:
        table: of each query the label, mask area, won area and their intersection, as four lists.
        scores: of each query.

    Returns:
        Segment id of each query (0: dropped), and the segments.
    """
    ids: list[int] = [0] * len(scores)
    segments: list[dict[str, Any]] = []
    stuff: dict[int, int] = {}
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
    class_log_probs: Tensor,
    masks: Tensor,
    upsample: Upsampler,
    things: Collection[int] | None,
    top: int,
    encode: Callable[[Tensor], list] | None = None,
) -> Instances:
    """Return the best (query, class) pairs as instances; score = class score × mean mask probability inside the mask.

    Args:
        class_log_probs: (Q, K + 1), void last.
        masks: (Q, h, w) logits.
        upsample: to (H, W).
        things: keep only these classes; None keeps all.
        top: largest number of instances; fewer if Q · K is smaller.
        encode: makes a list of (n, H, W) bool masks, some at a time; None: masks are kept as they are, which takes
            much memory for large images.

    Returns:
        Instances with ``pred_masks`` (n, H, W) float32, or ``encoded_masks`` if there is `encode`, ``scores``,
        ``pred_classes``, and ``pred_boxes``, the tight boxes of the masks as (x1, y1, x2, y2), exclusive of x2 and y2;
        zeros for an empty mask.
    """
    scores = class_log_probs.softmax(-1)[:, :-1]
    best, flat = scores.flatten().topk(min(top, scores.numel()), sorted=False)
    query, label = flat // scores.shape[1], flat % scores.shape[1]
    if things is not None:
        keep = torch.isin(label, torch.tensor(sorted(things), device=label.device, dtype=label.dtype))
        best, query, label = best[keep], query[keep], label[keep]
    unique, inverse = query.unique(return_inverse=True)
    binary, quality = [masks.new_zeros(0, *upsample.output, dtype=torch.bool)], [masks.new_zeros(0)]
    boxes, encoded = [masks.new_zeros(0, 4, dtype=torch.float32)], []
    for _, chunk in _chunks(masks[unique], upsample):
        positive = chunk > 0
        area = positive.sum((-1, -2))
        if encode is None:
            binary.append(positive)
        else:
            encoded += encode(positive)
        boxes.append(tight_boxes(positive))
        quality.append((chunk.sigmoid() * positive).sum((-1, -2)) / (area + 1e-6))
    result = Instances(upsample.output)
    if encode is None:
        result.pred_masks = torch.cat(binary)[inverse].float()
    else:
        result.encoded_masks = [encoded[k] for k in inverse.tolist()]
    result.pred_boxes = Boxes(torch.cat(boxes)[inverse])
    result.scores = best * torch.cat(quality)[inverse]
    result.pred_classes = label
    return result


def tight_boxes(masks: Tensor) -> Tensor:
    """Find the box of each mask.

    Args:
        masks: (N, H, W) bool.

    Returns:
        (N, 4) float32 (x1, y1, x2, y2), exclusive of x2 and y2, as Detectron2's ``BitMasks.get_bounding_boxes`` gives
        them; zeros for an empty mask.
    """
    sides = []
    for present in (masks.any(1), masks.any(2)):  # (N, W), (N, H)
        numbers = torch.arange(present.shape[1], device=masks.device)
        first = torch.where(present, numbers, present.shape[1]).amin(1)
        last = torch.where(present, numbers, -1).amax(1)
        sides.append((first, last + 1))
    (x1, x2), (y1, y2) = sides
    return torch.stack((x1, y1, x2, y2), 1).float() * (x2 > 0)[:, None]
