"""The set loss as Mask2Former writes it: the masks of all queries and layers whole, then sampled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zsseg_d2.modeling.criterion import SetCriterion, class_loss, mask_losses, uncertain_points
from zsseg_d2.modeling.matcher import hungarian, matching_cost, sample_points


def forward(self: SetCriterion, layers: Sequence, mask_features: Sequence[Tensor], targets: Sequence) -> dict[str, Tensor]:
    """See :meth:`SetCriterion.forward`; without ignored pixels. Draws the same random numbers in the same order."""
    drawn = [torch.rand(1, self.num_points, 2) for _ in targets]
    num_masks = self._num_masks(targets, mask_features[0].device)
    whole = [[torch.einsum("qc,chw->qhw", p.mask_embed, f) for p, f in zip(layer, mask_features)] for layer in layers]
    losses = {}
    for number, (layer, masks) in enumerate(zip(layers, whole)):
        labels, loss_mask, loss_dice = [], 0.0, 0.0
        for prediction, mask, target, points in zip(layer, masks, targets, drawn):
            query, index = _match(self, prediction, mask, target, points)
            label = torch.full((len(mask),), prediction.class_logits.shape[-1] - 1)
            label[query] = target.labels[index]
            labels.append(label)
            matched = mask[query]
            with torch.no_grad():
                at = uncertain_points(matched, self.num_points, self.oversample_ratio, self.importance_sample_ratio)
                truth = sample_points(target.masks[index][:, None].float(), at)[:, 0]
            mask_loss, dice = mask_losses(sample_points(matched[:, None], at)[:, 0], truth, num_masks)
            loss_mask, loss_dice = loss_mask + mask_loss, loss_dice + dice
        logits = torch.cat([p.class_logits for p in layer])
        found = {
            "loss_ce": class_loss(logits, torch.cat(labels), self.no_object_weight),
            "loss_mask": loss_mask,
            "loss_dice": loss_dice,
        }
        suffix = "" if number == len(layers) - 1 else f"_{number}"
        losses.update({name + suffix: value * self.weights[name] for name, value in found.items()})
    return losses


@torch.no_grad()
def _match(criterion: SetCriterion, prediction, masks: Tensor, target, points: Tensor) -> tuple[Tensor, Tensor]:
    at_points = sample_points(masks[:, None], points.expand(len(masks), -1, -1))[:, 0]
    truth = sample_points(target.masks[:, None].float(), points.expand(len(target.masks), -1, -1))[:, 0]
    w = criterion.weights
    costs = w["loss_ce"], w["loss_mask"], w["loss_dice"]
    return hungarian(matching_cost(prediction.class_logits, at_points, target.labels, truth, *costs))
