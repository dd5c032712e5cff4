"""Classes of given masks, by one FC-CLIP: an oracle that tells errors of classes from errors of masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..modeling.fcclip.interfaces import Queries
from .combined import CombinedFCCLIP
from .fcclip import FCCLIP
from .mean_teacher import TEACHER, MeanTeacherFCCLIP

STRIDE = 4  # of mask logits


def predicting_model(model: nn.Module) -> FCCLIP | None:
    """Return the one FC-CLIP whose queries make the predictions of a method; None if several do."""
    if isinstance(model, CombinedFCCLIP):
        half = {"one": model.model_one, "two": model.model_two}.get(model.prediction)
        return None if half is None else predicting_model(half)
    if isinstance(model, MeanTeacherFCCLIP) and model.mean_teacher.prediction == TEACHER:
        return model.teacher
    if isinstance(model, FCCLIP) and type(model).segment in (FCCLIP.segment, MeanTeacherFCCLIP.segment):
        return model if hasattr(model.sem_seg_head.predictor, "embed_masks") else None
    return None


@torch.no_grad()
def name_masks(model: FCCLIP, item: Mapping, masks: Iterable[Tensor]) -> Tensor:
    """Choose the most likely class of each given mask; none is void.

    Args:
        model, item, masks: As in :func:`score_masks`.

    Returns:
        (N,) contiguous ids.
    """
    return score_masks(model, item, masks)[:, :-1].argmax(-1)


@torch.no_grad()
def score_masks(model: FCCLIP, item: Mapping, masks: Iterable[Tensor]) -> Tensor:
    """Compute class log-probabilities of given masks.

    In-vocabulary scores are of the mask features pooled in the mask, with the query that fits it best; CLIP's scores
    are of the mask, too. Ensemble and seen classes are those of the model.

    Args:
        model: In eval mode.
        item: Of the input, with ``image`` (3, h, w).
        masks: N times (h, w) bool, or the share of each pixel, on the image's pixels; none empty.

    Returns:
        (N, K + 1), void last.
    """
    ((_, images),) = model.padded_batches([item])
    cells = (images.shape[-2] // STRIDE, images.shape[-1] // STRIDE)
    given = on_cells((mask.to(model.device) for mask in masks), cells)
    with model.inference_precision():
        features = model.clip_features(images)
        lateral, scales, projection = model.sem_seg_head.pixel_decoder.unprojected(features)
        embed = model.sem_seg_head.predictor.embed_masks(scales, lateral, projection, given)  # type: ignore[operator]
        classes = model.classes.of(item)
        text = model.text_rows(classes.vocabulary)
        logits = model.class_logits(Queries(embed[None], embed[None]), text, classes.vocabulary)
        as_logits = torch.where(given, 1.0, -1.0)[None]
        return model.class_scores(logits, as_logits, features["clip_vis_dense"], classes)[0]


def on_cells(masks: Iterable[Tensor], cells: tuple[int, int]) -> Tensor:
    """Return (N, h, w) bool: cells that a mask covers by half, or those that it covers most.

    Args:
        masks: N times (H, W) bool, or the share of each pixel; none empty.
        cells: (h, w) of the padded image, in cells of :data:`STRIDE` pixels.
    """
    found = []
    for mask in masks:  # one by one, since an image may have hundreds
        padded = F.pad(mask.float(), (0, cells[1] * STRIDE - mask.shape[-1], 0, cells[0] * STRIDE - mask.shape[-2]))
        share = F.avg_pool2d(padded[None], STRIDE)[0]
        found.append(share >= share.max().clamp(max=0.5))
    return torch.stack(found)


def name_regions(
    model: FCCLIP, item: Mapping, regions: np.ndarray, *, deleted: Sequence[int], least: float
) -> list[tuple[int, float] | None]:
    """Choose the most likely deleted class of each region of an image.

    Args:
        model: In eval mode.
        item: Of the input, with ``image`` (3, h, w).
        regions: (H, W) numbers 1 to R, none empty, and 0.
        deleted: Contiguous ids of the deleted classes.
        least: Regions are None where the probability of all deleted classes together is below.

    Returns:
        (R,) contiguous id, and its share of the probability of the deleted classes.
    """
    number, size = int(regions.max(initial=0)), item["image"].shape[-2:]
    if not number:
        return []
    masks = (torch.from_numpy(regions == n) for n in range(1, number + 1))
    if regions.shape != tuple(size):
        masks = (F.interpolate(mask[None, None].float(), size=size, mode="area")[0, 0] for mask in masks)
    probabilities = score_masks(model, item, masks).softmax(-1)[:, list(deleted)]
    together = probabilities.sum(-1)
    best = probabilities.max(-1)
    return [
        (deleted[k], p / max(t, 1e-12)) if t >= least else None
        for k, p, t in zip(best.indices.tolist(), best.values.tolist(), together.tolist())
    ]
