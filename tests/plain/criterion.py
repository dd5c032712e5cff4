"""The set loss as Mask2Former writes it: the masks of all queries and layers whole, then sampled.

Predictions and targets have the attributes of ``Prediction`` and ``Target``; nothing of the package is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor


class Settings(NamedTuple):
    """Weights of the three losses, weight of no-object, and how points are drawn (PointRend)."""

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    points: int = 12544
    oversample: float = 3.0
    importance: float = 0.75


def losses(
    layers: Sequence[Sequence[Any]], mask_features: Sequence[tuple[Tensor]], targets: Sequence[Any], settings: Settings
) -> dict[str, Tensor]:
    """Compute the weighted losses of one process. Draws the same random numbers in the same order as the package.

    Args:
        layers: Predictions [layer][image].
        mask_features: [image] the (C, h, w) of the only model.
        targets: [image].
        settings: See :class:`Settings`.
    """
    num_masks = max(sum(len(t.labels) for t in targets), 1)
    whole = [
        [torch.einsum("qc,chw->qhw", *p.mask_embeds, *f) for p, f in zip(layer, mask_features)] for layer in layers
    ]
    sums: list[list] = [[0.0, 0.0, [], []] for _ in layers]  # mask loss, dice loss, labels, weights of queries
    for image, target in enumerate(targets):
        drawn = torch.rand(1, settings.points, 2, device=mask_features[0][0].device)
        matches = [
            match(layer[image].class_logits, masks[image], target, drawn, settings)
            for layer, masks in zip(layers, whole)
        ]
        for total, layer, masks, (query, index) in zip(sums, layers, whole, matches):
            logits, matched = layer[image].class_logits, masks[image][query]
            labels = torch.full((len(logits),), logits.shape[-1] - 1, device=logits.device)
            labels[query] = target.labels[index]
            total[2].append(labels)
            total[3].append(query_weights(masks[image], query, target, drawn))
            if not len(index):
                total[0], total[1] = total[0] + matched.sum(), total[1] + matched.sum()
                continue
            with torch.no_grad():
                at = uncertain_points(matched, settings.points, settings.oversample, settings.importance)
                truth = sample(target.masks[index][:, None].float(), at)[:, 0]
                weight = valid(target, at)
            mask_loss, dice = mask_losses(sample(matched[:, None], at)[:, 0], truth, weight)
            total[0], total[1] = total[0] + mask_loss / num_masks, total[1] + dice / num_masks
    result = {}
    for number, (layer, (mask_loss, dice, labels, weights)) in enumerate(zip(layers, sums)):
        ce = class_loss(
            torch.cat([p.class_logits for p in layer]), torch.cat(labels), torch.cat(weights), settings.no_object_weight
        )
        suffix = "" if number == len(layers) - 1 else f"_{number}"
        result[f"loss_ce{suffix}"] = settings.class_weight * ce
        result[f"loss_mask{suffix}"] = settings.mask_weight * mask_loss
        result[f"loss_dice{suffix}"] = settings.dice_weight * dice
    return result


def sample(maps: Tensor, points: Tensor, mode: str = "bilinear") -> Tensor:
    """Sample (B, C, h, w) at points (B, P, 2) in [0, 1], to (B, C, P)."""
    return F.grid_sample(maps, 2 * points[:, :, None] - 1, mode=mode, align_corners=False)[..., 0]


def valid(target: Any, points: Tensor) -> Tensor:
    """Return (N, P) 0 at points (N, P, 2) on ignored pixels, else 1."""
    if target.ignore is None:
        return torch.ones(points.shape[:2], device=points.device)
    ignored = target.ignore[None, None].float().expand(len(points), -1, -1, -1)
    return 1 - sample(ignored, points, "nearest")[:, 0]


def class_loss(logits: Tensor, labels: Tensor, weights: Tensor, no_object_weight: float) -> Tensor:
    """Average the cross-entropies of (M, K + 1) logits, by the weights of their queries and classes."""
    weights = weights * torch.where(labels == logits.shape[-1] - 1, no_object_weight, 1.0)
    right = logits.gather(1, labels[:, None])[:, 0]
    return (weights * (logits.logsumexp(-1) - right)).sum() / weights.sum().clamp(min=1e-6)


def mask_losses(logits: Tensor, truth: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Sum, over masks, the mean cross-entropy and the dice loss of (N, P) logits."""
    entropy = truth * F.softplus(-logits) + (1 - truth) * F.softplus(logits)
    p = 1 / (1 + torch.exp(-logits))
    overlap, areas = (weight * p * truth).sum(-1), (weight * p).sum(-1) + (weight * truth).sum(-1)
    dice = 1 - (2 * overlap + 1) / (areas + 1)
    return ((weight * entropy).sum(-1) / weight.sum(-1).clamp(min=1)).sum(), dice.sum()


def uncertain_points(masks: Tensor, number: int, oversample: float, importance: float) -> Tensor:
    """Draw (N, P, 2) points: of many random ones those with the logit nearest 0, and some more at random."""
    candidates = torch.rand(len(masks), int(number * oversample), 2, device=masks.device)
    chosen = int(number * importance)
    nearest = sample(masks[:, None], candidates)[:, 0].abs().argsort(dim=1)[:, :chosen]
    points = torch.stack([of_mask[order] for of_mask, order in zip(candidates, nearest)])
    return torch.cat((points, torch.rand(len(masks), number - chosen, 2, device=masks.device)), dim=1)


@torch.no_grad()
def match(
    class_logits: Tensor, masks: Tensor, target: Any, points: Tensor, settings: Settings
) -> tuple[Tensor, Tensor]:
    """Match (Q, h, w) masks to the targets at points (1, P, 2); queries and targets, in the order of the targets."""
    z = sample(masks[:, None], points.expand(len(masks), -1, -1))[:, 0]
    truth = sample(target.masks[:, None].float(), points.expand(len(target.masks), -1, -1))[:, 0]
    w = valid(target, points)[0]
    inside, outside = w * truth, w * (1 - truth)
    entropy = (F.softplus(-z) @ inside.T + F.softplus(z) @ outside.T) / w.sum().clamp(min=1)
    p = 1 / (1 + torch.exp(-z))
    dice = 1 - (2 * p @ inside.T + 1) / ((w * p).sum(-1)[:, None] + inside.sum(-1) + 1)
    right = class_logits.softmax(-1)[:, target.labels]
    cost = settings.mask_weight * entropy + settings.dice_weight * dice - settings.class_weight * right
    query, index = (torch.as_tensor(x, device=cost.device) for x in linear_sum_assignment(cost.cpu().numpy()))
    order = index.argsort()
    return query[order], index[order]


@torch.no_grad()
def query_weights(masks: Tensor, matched: Tensor, target: Any, points: Tensor) -> Tensor:
    """Return (Q,) 0 for an unmatched query of whose mask more than half is ignored, else 1."""
    inside = sample(masks[:, None], points.expand(len(masks), -1, -1))[:, 0] > 0
    ignored = (inside * (1 - valid(target, points)[0])).sum(-1)
    counts = ignored <= 0.5 * inside.sum(-1)
    counts[matched] = True
    return counts.float()
