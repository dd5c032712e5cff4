"""The set loss of Mask2Former (Cheng et al. 2022, section 3.3) with masks compared at sampled points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from detectron2.utils import comm
from torch import Tensor, nn

from .matcher import hungarian, matching_cost, sample_points


@dataclass(frozen=True)
class Target:
    """Ground truth of one image on the padded grid: labels (N,), masks (N, H, W) bool, ignore (H, W) bool or None."""

    labels: Tensor
    masks: Tensor
    ignore: Tensor | None = None


@dataclass(frozen=True)
class Prediction:
    """One image after one layer: class logits (Q, K + 1), mask embeddings (Q, C); mask features are given beside."""

    class_logits: Tensor
    mask_embed: Tensor


MaskLogits = Callable[[Tensor, Tensor], Tensor]
"""(Q, C) mask embeddings and (C, P) mask features at P places to (Q, P) mask logits."""


def class_loss(logits: Tensor, labels: Tensor, no_object_weight: float, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy, weighted mean; the last class is no-object.

    Args:
        logits: (M, K + 1). labels: (M,) in 0 … K. weight: (M,) extra weight of each query.
    """
    per_class = torch.ones(logits.shape[-1], device=logits.device)
    per_class[-1] = no_object_weight
    weights = per_class[labels] if weight is None else per_class[labels] * weight
    losses = F.cross_entropy(logits.float(), labels, reduction="none")
    return (losses * weights).sum() / weights.sum().clamp(min=1e-6)


def mask_losses(
    logits: Tensor, targets: Tensor, num_masks: float, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy (mean over points) and dice (1 - (2·Σpt + 1)/(Σp + Σt + 1)), summed over masks / num_masks.

    Args:
        logits, targets: (N, P) at the same points. weight: (N, P) of the points; None: all 1.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = logits.sigmoid()
    if weight is None:
        entropy = entropy.mean(-1)
    else:
        entropy = (entropy * weight).sum(-1) / weight.sum(-1).clamp(min=1)
        probability, targets = probability * weight, targets * weight
    dice = 1 - (2 * (probability * targets).sum(-1) + 1) / (probability.sum(-1) + targets.sum(-1) + 1)
    return entropy.sum() / num_masks, dice.sum() / num_masks


def uncertain_points(masks: Tensor, number: int, oversample: float, importance: float) -> Tensor:
    """Random points, preferring those where the mask is least sure (Kirillov et al. 2020, PointRend, section 3.1).

    Args:
        masks: (N, h, w) logits. number: P.

    Returns:
        (N, P, 2) as (x, y) in [0, 1].
    """
    count, device = len(masks), masks.device
    candidates = torch.rand(count, int(number * oversample), 2, device=device)
    uncertainty = -sample_points(masks[:, None], candidates)[:, 0].abs()
    chosen = uncertainty.topk(int(number * importance), dim=1, sorted=False).indices
    points = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    return torch.cat((points, torch.rand(count, number - points.shape[1], 2, device=device)), dim=1)


class SetCriterion(nn.Module):
    """Matches each layer's queries to the ground truth and sums classification, mask and dice losses.

    Mask features are sampled at the points and multiplied with mask embeddings there; full masks are made for matched
    queries only. The points of matching are shared by all masks and layers of an image.
    """

    def __init__(
        self,
        *,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        no_object_weight: float = 0.1,
        num_points: int = 12544,
        oversample_ratio: float = 3.0,
        importance_sample_ratio: float = 0.75,
    ) -> None:
        super().__init__()
        self.weights = {"loss_ce": class_weight, "loss_mask": mask_weight, "loss_dice": dice_weight}
        self.no_object_weight = no_object_weight
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio

    def forward(
        self,
        layers: Sequence[Sequence[Prediction]],
        mask_features: Sequence[Tensor],
        targets: Sequence[Target],
        mask_logits: MaskLogits = torch.matmul,
    ) -> dict[str, Tensor]:
        """
        Args:
            layers: predictions [layer][image], the final layer last.
            mask_features: [image] (C, h, w). targets: [image].
            mask_logits: what embeddings and features say together; FC-CLIP's is their product.

        Returns:
            Weighted losses ``loss_ce``, ``loss_mask``, ``loss_dice`` of the final layer, and ``…_0``, ``…_1`` of the others.
        """
        with torch.autocast(mask_features[0].device.type, enabled=False):
            num_masks = self._num_masks(targets, mask_features[0].device)
            found: list[list[tuple]] = [[] for _ in layers]
            for image, (features, target) in enumerate(zip(mask_features, targets)):
                predictions = [layer[image] for layer in layers]
                for of_layer, one in zip(
                    found, self._image(predictions, features.float(), target, num_masks, mask_logits)
                ):
                    of_layer.append(one)
            losses: dict[str, Tensor] = {}
            for index, (layer, of_layer) in enumerate(zip(layers, found)):
                suffix = "" if index == len(layers) - 1 else f"_{index}"
                labels, weights, mask, dice = zip(*of_layer)
                logits = torch.cat([p.class_logits for p in layer])
                named = {
                    "loss_ce": class_loss(logits, torch.cat(labels), self.no_object_weight, torch.cat(weights)),
                    "loss_mask": sum(mask),
                    "loss_dice": sum(dice),
                }
                losses.update({name + suffix: value * self.weights[name] for name, value in named.items()})
        return losses

    @staticmethod
    def _num_masks(targets: Sequence[Target], device: torch.device) -> float:
        """Mean number of targets a process, at least 1."""
        count = torch.tensor([sum(len(t.labels) for t in targets)], dtype=torch.float32, device=device)
        if comm.get_world_size() > 1:
            torch.distributed.all_reduce(count)
        return max(count.item() / comm.get_world_size(), 1.0)

    @torch.no_grad()
    def _matching_sample(self, features: Tensor, target: Target, truth: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Features (C, P), target masks (N, P) and point weights (P,) at random points."""
        points = torch.rand(1, self.num_points, 2, device=features.device)
        masks = sample_points(truth[None], points)[0]
        weight = None
        if target.ignore is not None:
            weight = 1 - sample_points(target.ignore[None, None].float(), points, mode="nearest")[0, 0]
        return sample_points(features[None], points)[0], masks, weight

    def _image(
        self,
        predictions: Sequence[Prediction],
        features: Tensor,
        target: Target,
        num_masks: float,
        mask_logits: MaskLogits,
    ) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Of each layer: class labels (Q,), their weights (Q,), mask loss and dice loss. The matched masks of all layers are
        one product with the features, and so is their gradient."""
        truth = target.masks.float()
        sample = self._matching_sample(features, target, truth)
        matches = [self._match(p, target, sample, mask_logits) for p in predictions]
        embeds = torch.cat([p.mask_embed.float()[query] for p, (query, *_) in zip(predictions, matches)])
        masks = mask_logits(embeds, features.flatten(1)).unflatten(1, features.shape[1:])
        result = []
        for (query, index, labels, weights), of_layer in zip(
            matches, masks.split([len(query) for query, *_ in matches])
        ):
            losses = self._mask_losses(of_layer, truth, target.ignore, index, num_masks)
            result.append((labels, weights, *losses))
        return result

    @torch.no_grad()
    def _match(
        self,
        prediction: Prediction,
        target: Target,
        sample: tuple[Tensor, Tensor, Tensor | None],
        mask_logits: MaskLogits,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Matched queries and their targets, in the order of the targets; class labels and weights of all queries."""
        features, truth, weight = sample
        w, logits = self.weights, prediction.class_logits
        at_points = mask_logits(prediction.mask_embed.float(), features)
        cost = matching_cost(
            logits, at_points, target.labels, truth, w["loss_ce"], w["loss_mask"], w["loss_dice"], weight
        )
        query, index = hungarian(cost)
        order = index.argsort()
        query, index = query[order], index[order]
        labels = torch.full((len(logits),), logits.shape[-1] - 1, device=logits.device)
        labels[query] = target.labels[index]
        return query, index, labels, self._query_weight(at_points, query, weight)

    @staticmethod
    def _query_weight(at_points: Tensor, matched: Tensor, weight: Tensor | None) -> Tensor:
        """(Q,) 0 for unmatched queries whose mask lies mostly on ignored pixels: they are not taught to be void."""
        result = torch.ones(len(at_points), device=at_points.device)
        if weight is None:
            return result
        inside = (at_points > 0).float()
        ignored = (inside @ (1 - weight)) / inside.sum(-1).clamp(min=1)
        result[ignored > 0.5] = 0.0
        result[matched] = 1.0
        return result

    def _mask_losses(
        self, masks: Tensor, truth: Tensor, ignore: Tensor | None, index: Tensor, num_masks: float
    ) -> tuple[Tensor, Tensor]:
        """Losses of matched mask logits (n, h, w) with masks (N, H, W), where mask k is of target ``index[k]``."""
        if len(index) == 0:
            return masks.sum(), masks.sum()  # 0, with a gradient
        with torch.no_grad():
            points = uncertain_points(masks, self.num_points, self.oversample_ratio, self.importance_sample_ratio)
            matched = truth if len(index) == len(truth) else truth[index]
            wanted = sample_points(matched[:, None], points)[:, 0]
            weight = None
            if ignore is not None:
                ignored = ignore[None, None].float().expand(len(index), -1, -1, -1)
                weight = 1 - sample_points(ignored, points, mode="nearest")[:, 0]
        return mask_losses(sample_points(masks[:, None], points)[:, 0], wanted, num_masks, weight)
