"""The panoptic rule as Mask2Former writes it: every mask at full size, then query by query."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def panoptic_inference(
    class_log_probs: Tensor,
    masks: Tensor,
    upsample: Any,
    things: Collection[int],
    object_mask_threshold: float = 0.0,
    overlap_threshold: float = 0.8,
) -> tuple[Tensor, list[dict]]:
    """See :func:`zsseg_d2.modeling.postprocessing.panoptic_inference`; only the sizes of ``upsample`` are read."""
    full = F.interpolate(masks[None], upsample.padded, mode="bilinear", align_corners=False)
    full = full[..., : upsample.image[0], : upsample.image[1]]
    full = F.interpolate(full, upsample.output, mode="bilinear", align_corners=False)[0].sigmoid()
    best, labels = class_log_probs.softmax(-1).max(-1)
    keep = (labels != class_log_probs.shape[-1] - 1) & (best > object_mask_threshold)
    best, labels, full = best[keep], labels[keep], full[keep]
    result, segments, stuff = torch.zeros(upsample.output, dtype=torch.int32), [], {}
    if not len(best):
        return result, segments
    winner = (best[:, None, None] * full).argmax(0)
    for query, label in enumerate(labels.tolist()):
        won, own = winner == query, full[query] >= 0.5
        area, original = int(won.sum()), int(own.sum())
        if not area or not original or not int((won & own).sum()) or area / original < overlap_threshold:
            continue
        if label in stuff:
            segment = segments[stuff[label] - 1]
            segment["score"] = max(segment["score"], float(best[query]))
        else:
            segment = {
                "id": len(segments) + 1,
                "isthing": label in things,
                "category_id": label,
                "score": float(best[query]),
            }
            segments.append(segment)
            if not segment["isthing"]:
                stuff[label] = segment["id"]
        result[won & own] = segment["id"]
    return result, segments
