"""Targets for classes without labels, from a teacher's queries, with the teacher's doubt kept. Pure functions.

In place of one threshold on the teacher's score, losses are weighted by its confidence, a query and a pixel at a time.
The idea is that of mask transformers that learn from a mean teacher in another domain (Martinović et al. 2024,
"MC-PanDA: Mask Confidence for Panoptic Domain Adaptation"); the formulas here are our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .fcclip.targets import Doubt, Target


@dataclass(frozen=True)
class TeachingSettings:
    """Which of a teacher's queries become targets.

    Attributes:
        weight: Weight of all of the teacher's targets, times their confidence.
        min_confidence: Queries that are less sure, by :attr:`Taught.confidence`, are no targets.
        min_area: Pixels of the training image that a target has at least.
        min_visible: Share of the predicted mask that is won and lies where no kept label is.
    """

    weight: float = 1.0
    min_confidence: float = 0.0
    min_area: int = 32
    min_visible: float = 0.5


@dataclass(frozen=True)
class Taught:
    """N targets of one image that a teacher names, on the grid of its masks.

    Attributes:
        classes: (N, K + 1) class probabilities, void last.
        masks: (N, h, w) mask probabilities, 0 where a kept label is or another query wins.
        pixels: (N, h, w) how sure each mask is of a pixel: |2 · probability - 1| of the query that wins it; 1 at kept
            labels.
        confidence: (N,) probability of the named class times the mean mask probability inside the mask.
        evidence: (h, w) largest probability that a query which became no target shows a class without labels, at pixels
            without a kept label and outside the targets' masks.
    """

    classes: Tensor
    masks: Tensor
    pixels: Tensor
    confidence: Tensor
    evidence: Tensor


@torch.no_grad()
def teach(
    log_probabilities: Tensor, masks: Tensor, free: Tensor, classes: Sequence[int], settings: TeachingSettings
) -> Taught:
    """Choose the queries that show a class without labels, and keep their doubt.

    Queries compete for pixels by class probability × mask probability, as in the panoptic rule, but nothing is rounded.

    Args:
        log_probabilities: (Q, K + 1) of the teacher, void last.
        masks: (Q, h, w) mask logits.
        free: (h, w) share of each cell in which no kept label is, in [0, 1].
        classes: Contiguous ids without labels.
        settings: Which queries become targets; areas are counted in cells here.
    """
    probabilities, inside = log_probabilities.float().softmax(-1), masks.float().sigmoid()
    best, label = probabilities.max(-1)
    wanted = torch.tensor(list(classes), device=masks.device)
    named = torch.isin(label, wanted)
    competing = (label < probabilities.shape[-1] - 1).float()
    winner = ((best * competing)[:, None, None] * inside).max(0).indices
    hard = inside >= 0.5
    own = winner[None] == torch.arange(len(masks), device=masks.device)[:, None, None]
    area = hard.sum((1, 2))
    won = (own & hard) * free
    visible = won.sum((1, 2))
    confidence = best * (inside * hard).sum((1, 2)) / area.clamp(min=1)
    chosen = named & (visible >= settings.min_area) & (visible >= settings.min_visible * area)
    chosen &= confidence >= settings.min_confidence
    of_winner = (2 * inside.gather(0, winner[None])[0] - 1).abs()
    sure = torch.where(own, (2 * inside - 1).abs(), of_winner)[chosen]
    out = probabilities[:, wanted].sum(-1)
    evidence = (torch.where(chosen, 0.0, out)[:, None, None] * inside).amax(0)
    covered = (own & hard)[chosen].any(0)
    return Taught(
        classes=probabilities[chosen],
        masks=(inside * own)[chosen] * free,
        pixels=torch.where(free > 0.5, sure, 1.0),
        confidence=confidence[chosen],
        evidence=torch.where(covered, 0.0, evidence) * free,
    )


@torch.no_grad()
def free_share(target: Target, size: tuple[int, int]) -> Tensor:
    """Return (h, w) the share of each cell in which no target is and a loss is taken."""
    taken = target.masks.any(0)
    if target.ignore is not None:
        taken = taken | target.ignore
    free = (~taken).float()[None, None]
    return F.adaptive_avg_pool2d(free, size)[0, 0]


@torch.no_grad()
def with_taught(target: Target, taught: Taught, columns: int, weight: float) -> Target:
    """Add a teacher's targets to the ground truth of an image.

    Args:
        target: Ground truth on the padded grid (H, W).
        taught: Of the teacher.
        columns: K + 1, columns of the classifier, void last; it has all K classes.
        weight: Of the teacher's targets.
    """
    size = target.masks.shape[-2:]

    def resize(maps: Tensor) -> Tensor:
        if not len(maps):
            return maps.new_zeros(0, *size)
        return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]

    known = torch.ones(len(target.labels), *size, device=target.labels.device)
    classes = F.one_hot(target.labels, columns).float()
    doubt = Doubt(
        classes=torch.cat((classes, taught.classes)),
        weights=torch.cat((known.new_ones(len(classes)), weight * taught.confidence)),
        pixels=torch.cat((known, resize(taught.pixels))),
        void=1 - resize(taught.evidence[None])[0],
    )
    labels = taught.classes[:, :-1].argmax(-1)
    masks = torch.cat((target.masks.float(), resize(taught.masks)))
    return Target(torch.cat((target.labels, labels)), masks, target.ignore, doubt)
