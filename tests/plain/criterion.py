"""The set loss as Mask2Former writes it: the masks of all queries and layers whole, then sampled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from zsseg_d2.modeling.fcclip.criterion import SetCriterion, class_loss, mask_losses, uncertain_points
from zsseg_d2.modeling.fcclip.matcher import sample_points


def forward(
    self: SetCriterion, layers: Sequence, mask_features: Sequence[tuple[Tensor]], targets: Sequence
) -> dict[str, Tensor]:
    """See :meth:`SetCriterion.forward`; without ignored pixels. Draws the same random numbers in the same order."""
    num_masks = self._num_masks(targets)
    whole = [
        [torch.einsum("qc,chw->qhw", *p.mask_embeds, *f) for p, f in zip(layer, mask_features)] for layer in layers
    ]
    sums = [[0.0, 0.0, []] for _ in layers]  # mask loss, dice loss, labels
    for image, target in enumerate(targets):
        drawn = torch.rand(1, self.num_points, 2, device=mask_features[0][0].device)
        matches = [_match(self, layer[image], masks[image], target, drawn) for layer, masks in zip(layers, whole)]
        for total, layer, masks, (query, index) in zip(sums, layers, whole, matches):
            logits, matched = layer[image].class_logits, masks[image][query]
            labels = torch.full((len(logits),), logits.shape[-1] - 1, device=logits.device)
            labels[query] = target.labels[index]
            with torch.no_grad():
                at = uncertain_points(matched, self.num_points, self.oversample_ratio, self.importance_sample_ratio)
                truth = sample_points(target.masks[index][:, None].float(), at)[:, 0]
            mask_loss, dice = mask_losses(sample_points(matched[:, None], at)[:, 0], truth, num_masks)
            total[0], total[1] = total[0] + mask_loss, total[1] + dice
            total[2].append(labels)
    losses = {}
    for number, (layer, (mask_loss, dice, labels)) in enumerate(zip(layers, sums)):
        logits = torch.cat([p.class_logits for p in layer])
        ce = class_loss(logits, torch.cat(labels), self.no_object_weight)
        suffix = "" if number == len(layers) - 1 else f"_{number}"
        for name, value in (("loss_ce", ce), ("loss_mask", mask_loss), ("loss_dice", dice)):
            losses[name + suffix] = value * self.weights[name]
    return losses


@torch.no_grad()
def _match(criterion: SetCriterion, prediction, masks: Tensor, target, points: Tensor) -> tuple[Tensor, Tensor]:
    at_points = sample_points(masks[:, None], points.expand(len(masks), -1, -1))[:, 0]
    truth = sample_points(target.masks[:, None].float(), points.expand(len(target.masks), -1, -1))[:, 0]
    w = criterion.weights
    cost_class = -prediction.class_logits.softmax(-1)[:, target.labels]
    on, off = torch.ones_like(at_points), torch.zeros_like(at_points)
    positive, negative = (F.binary_cross_entropy_with_logits(at_points, t, reduction="none") for t in (on, off))
    cost_mask = (positive @ truth.T + negative @ (1 - truth).T) / at_points.shape[-1]
    probability = at_points.sigmoid()
    areas = probability.sum(-1)[:, None] + truth.sum(-1)[None]
    cost_dice = 1 - (2 * probability @ truth.T + 1) / (areas + 1)
    cost = w["loss_ce"] * cost_class + w["loss_mask"] * cost_mask + w["loss_dice"] * cost_dice
    query, index = (torch.as_tensor(x, device=cost.device) for x in linear_sum_assignment(cost.cpu().numpy()))
    order = index.argsort()
    return query[order], index[order]
