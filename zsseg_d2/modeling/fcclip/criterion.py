"""Set loss of Mask2Former (Cheng et al. 2022, section 3.3), with masks compared at sampled points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from detectron2.utils import comm
from torch import Tensor, nn

from ..processes import mean_number
from .matcher import hungarian, matching_cost
from .points import sample_points, uncertain_points
from .set_losses import class_loss, mask_losses, on_one_vocabulary
from .targets import Prediction, Target

MaskLogits = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Tensor]
"""Mask embeddings (Q, C) and mask features (C, P) of each model to mask logits (Q, P)."""


def single_model_masks(embeds: tuple[Tensor, ...], features: tuple[Tensor, ...]) -> Tensor:
    """Multiply the (Q, C) embeddings of the only model with its (C, P) features."""
    (embed,), (feature,) = embeds, features
    return embed @ feature


@dataclass(frozen=True)
class _Sample:
    """Random points of one image at which queries and ground truth are compared for matching.

    ``features`` (C, P) of each model, ``masks`` (N, P) of the targets, ``weight`` (P,) of the points or None, ``void``
    (P,) weight of unmatched queries or None.
    """

    features: tuple[Tensor, ...]
    masks: Tensor
    weight: Tensor | None
    void: Tensor | None = None


@dataclass(frozen=True)
class _Match:
    """Matching of one image after one layer.

    ``queries`` (n,) and their ``targets`` (n,), in the order of the targets; for all queries the class ``labels`` (Q,)
    and the ``weights`` (Q,) of their classification losses, and the class probabilities ``classes`` (Q, K + 1) that
    replace the labels, or None.
    """

    queries: Tensor
    targets: Tensor
    labels: Tensor
    weights: Tensor
    classes: Tensor | None = None


@dataclass(frozen=True)
class _MaskLosses:
    """Mask loss and dice loss () of one image after one layer."""

    entropy: Tensor
    dice: Tensor


class SetCriterion(nn.Module):
    """Match each layer's queries to the ground truth and sum classification, mask and dice losses.

    Mask features are sampled at the points and multiplied with mask embeddings there; full masks are made for matched
    queries only. All masks and layers of an image are matched at the same points.

    Args:
        class_weight: Weight of the cross-entropy, in the loss and in matching.
        mask_weight: Weight of the binary cross-entropy of masks, in the loss and in matching.
        dice_weight: Weight of the dice loss, in the loss and in matching.
        no_object_weight: Weight of the no-object class in the cross-entropy.
        num_points: Number P of points.
        oversample_ratio: Candidates for a point (PointRend).
        importance_sample_ratio: Share of the points that is taken where a mask is uncertain (PointRend).
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
        mask_features: Sequence[tuple[Tensor, ...]],
        targets: Sequence[Target],
        mask_logits: MaskLogits = single_model_masks,
    ) -> dict[str, Tensor]:
        """Compute the weighted losses of a batch.

        Args:
            layers: Predictions [layer][image], the final layer last.
            mask_features: [image] (C, h, w) of each model.
            targets: [image].
            mask_logits: Mask logits from embeddings and features; FC-CLIP's are their product.

        Returns:
            ``loss_ce``, ``loss_mask``, ``loss_dice`` of the final layer, and ``…_0``, ``…_1`` of the others.
        """
        with torch.autocast(targets[0].labels.device.type, enabled=False):
            num_masks = self._num_masks(targets)
            matches: list[list[_Match]] = [[] for _ in layers]
            masks: list[list[_MaskLosses]] = [[] for _ in layers]
            for image, (features, target) in enumerate(zip(mask_features, targets)):
                predictions = [layer[image] for layer in layers]
                of_image = self._image(predictions, tuple(f.float() for f in features), target, num_masks, mask_logits)
                for index, (match, losses) in enumerate(zip(*of_image)):
                    matches[index].append(match)
                    masks[index].append(losses)
            result: dict[str, Tensor] = {}
            for index, layer in enumerate(layers):
                suffix = "" if index == len(layers) - 1 else f"_{index}"
                for name, value in self._layer_losses(layer, matches[index], masks[index]).items():
                    result[name + suffix] = value * self.weights[name]
        return result

    def _layer_losses(
        self, layer: Sequence[Prediction], matches: Sequence[_Match], masks: Sequence[_MaskLosses]
    ) -> dict[str, Tensor]:
        """Losses of one layer over all images, before they are weighted."""
        logits, labels, classes = on_one_vocabulary(
            [p.class_logits for p in layer], [m.labels for m in matches], [m.classes for m in matches]
        )
        weights = torch.cat([m.weights for m in matches])
        return {
            "loss_ce": class_loss(logits, labels, self.no_object_weight, weights, classes),
            "loss_mask": sum((m.entropy for m in masks), start=logits.new_zeros(())),
            "loss_dice": sum((m.dice for m in masks), start=logits.new_zeros(())),
        }

    @staticmethod
    def _num_masks(targets: Sequence[Target]) -> float:
        """Mean number of targets per process, at least 1 in all; of doubtful ones, the sum of their weights."""
        number = sum(len(t.labels) if t.doubt is None else float(t.doubt.weights.sum()) for t in targets)
        return max(mean_number(number, targets[0].labels.device), 1.0 / comm.get_world_size())

    def _image(
        self,
        predictions: Sequence[Prediction],
        features: tuple[Tensor, ...],
        target: Target,
        num_masks: float,
        mask_logits: MaskLogits,
    ) -> tuple[list[_Match], list[_MaskLosses]]:
        """Matching and mask losses of each layer.

        The matched masks of all layers are one product with the features, and so is their gradient.
        """
        truth = target.masks.float()
        sample = self._sample(features, target, truth)
        matches = [self._match(p, target, sample, mask_logits) for p in predictions]
        embeds = tuple(
            torch.cat([embed.float()[m.queries] for embed, m in zip(of_model, matches)])
            for of_model in zip(*(p.mask_embeds for p in predictions))
        )
        masks = mask_logits(embeds, tuple(f.flatten(1) for f in features)).unflatten(1, features[0].shape[1:])
        by_layer = masks.split([len(m.queries) for m in matches])
        losses = [
            self._mask_losses(of_layer, truth, target, m.targets, num_masks) for of_layer, m in zip(by_layer, matches)
        ]
        return matches, losses

    @torch.no_grad()
    def _sample(self, features: tuple[Tensor, ...], target: Target, truth: Tensor) -> _Sample:
        """Features, target masks and point weights at random points."""
        points = torch.rand(1, self.num_points, 2, device=truth.device)
        weight = None
        if target.ignore is not None:
            weight = 1 - sample_points(target.ignore[None, None].float(), points, mode="nearest")[0, 0]
        at_points = tuple(sample_points(f[None], points)[0] for f in features)
        void = (
            None if target.doubt is None else sample_points(target.doubt.void[None, None], points, mode="nearest")[0, 0]
        )
        return _Sample(at_points, sample_points(truth[None], points)[0], weight, void)

    @torch.no_grad()
    def _match(self, prediction: Prediction, target: Target, sample: _Sample, mask_logits: MaskLogits) -> _Match:
        """Match the queries of one layer to the targets."""
        w, logits = self.weights, prediction.class_logits
        at_points = mask_logits(tuple(e.float() for e in prediction.mask_embeds), sample.features)
        cost = matching_cost(
            logits,
            at_points,
            target.labels,
            sample.masks,
            class_weight=w["loss_ce"],
            mask_weight=w["loss_mask"],
            dice_weight=w["loss_dice"],
            weight=sample.weight,
        )
        query, index = hungarian(cost)
        order = index.argsort()
        query, index = query[order], index[order]
        labels = torch.full((len(logits),), logits.shape[-1] - 1, device=logits.device)
        labels[query] = target.labels[index]
        weights = self._query_weight(at_points, query, sample.weight)
        if target.doubt is None or sample.void is None:
            return _Match(query, index, labels, weights)
        inside = (at_points > 0).float()
        area = inside.sum(-1)
        weights = weights * torch.where(area > 0, inside @ sample.void / area.clamp(min=1), 1.0)
        weights[query] = target.doubt.weights[index]
        classes = F.one_hot(labels, logits.shape[-1]).float()
        classes[query] = target.doubt.classes[index]
        return _Match(query, index, labels, weights, classes)

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
        self, masks: Tensor, truth: Tensor, target: Target, index: Tensor, num_masks: float
    ) -> _MaskLosses:
        """Losses of mask logits (n, h, w) with masks (N, H, W); mask k is matched to target ``index[k]``."""
        if len(index) == 0:
            return _MaskLosses(masks.sum(), masks.sum())  # 0, with a gradient
        with torch.no_grad():
            points = uncertain_points(masks, self.num_points, self.oversample_ratio, self.importance_sample_ratio)
            matched = truth if len(index) == len(truth) else truth[index]
            wanted = sample_points(matched[:, None], points)[:, 0]
            weight = mask_weight = None
            if target.ignore is not None:
                ignored = target.ignore[None, None].float().expand(len(index), -1, -1, -1)
                weight = 1 - sample_points(ignored, points, mode="nearest")[:, 0]
            if target.doubt is not None:
                sure = sample_points(target.doubt.pixels[index][:, None], points, mode="nearest")[:, 0]
                weight = sure if weight is None else weight * sure
                mask_weight = target.doubt.weights[index]
        at_points = sample_points(masks[:, None], points)[:, 0]
        return _MaskLosses(*mask_losses(at_points, wanted, num_masks, weight, mask_weight))
