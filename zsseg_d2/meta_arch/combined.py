"""Two FC-CLIP models that are trained together, with fused predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..modeling.fcclip.matcher import pair_queries
from ..modeling.fcclip.targets import Prediction
from ..modeling.fusion import Fusion, FusionSettings, build_fusion
from .fcclip import FCCLIP
from .mean_teacher import MeanTeacherFCCLIP
from .two_models import TwoModels

_PAIRING_SIDE = 64  # masks are compared on a grid of at most this many points a side, to pair queries

Predictions = tuple[list[list[Prediction]], list[tuple[Tensor, ...]]]
"""What a criterion reads: predictions [layer][image], and mask features (C, h, w) [image] of each model."""


@META_ARCH_REGISTRY.register()
class CombinedFCCLIP(TwoModels):
    """L = L₁ + L₂ + L_fused: each model's own losses, ``m1_*`` and ``m2_*``, and those of the fused predictions,
    ``com_*``.

    At test time model one, model two or the fusion predicts. If model one has a mean teacher
    (:class:`MeanTeacherFCCLIP`), that names what has no labels for all three losses, and stands for model one at test
    time as its settings say.

    Args:
        fusion: Rule that fuses class logits and masks of paired queries.
        pairing: How queries are paired: ``"index"`` or ``"hungarian"``.
        prediction: Which model predicts at test time: ``"one"``, ``"two"`` or ``"fused"``.
        deep_supervision: Take ``com_*`` losses after every layer, not only the last.
        models: Of :class:`TwoModels`.
    """

    @configurable
    def __init__(
        self, *, fusion: Fusion, pairing: str, prediction: str, deep_supervision: bool = False, **models: Any
    ) -> None:
        super().__init__(**models)
        self.fusion = fusion
        self.pairing = pairing
        self.prediction = prediction
        self.deep_supervision = deep_supervision

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        f = cfg.ZSSEG.FUSION
        return {
            **super().from_config(cfg),
            "fusion": build_fusion(FusionSettings(f.NAME, f.WEIGHT, f.THRESHOLD, f.TOP_K, f.SCALE)),
            "pairing": f.PAIRING,
            "prediction": f.PREDICTION,
            "deep_supervision": f.DEEP_SUPERVISION,
        }

    @classmethod
    def build_model_one(cls, cfg: CfgNode) -> FCCLIP:
        if not cfg.ZSSEG.FUSION.MEAN_TEACHER:
            return super().build_model_one(cfg)
        return MeanTeacherFCCLIP(**MeanTeacherFCCLIP.from_config(cfg))

    @classmethod
    def check_config(cls, cfg: CfgNode) -> None:
        super().check_config(cfg)
        if cfg.ZSSEG.FUSION.MEAN_TEACHER:
            MeanTeacherFCCLIP.check_config(cfg)

    def after_step(self) -> None:
        self.model_one.after_step()

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """Compute the weighted losses of a training batch (see :class:`SetCriterion`); CLIP sees each view once."""
        one, two = self.model_one, self.model_two
        if isinstance(one, MeanTeacherFCCLIP):
            features, padding, targets = one.lesson(batched_inputs)
        else:
            batch = one.training_batch(batched_inputs)
            features, padding = self.clip_features(batch.images, batch.padding), batch.padding
            targets = one.targets(batched_inputs)
        decoded = [model.decode(features, padding, items=batched_inputs) for model in (one, two)]
        predictions = [model.predictions(d, batched_inputs) for model, d in zip((one, two), decoded)]
        losses = {}
        for name, model, predicted in zip(("m1", "m2"), (one, two), predictions):
            losses.update({f"{name}_{k}": v for k, v in model.criterion(*predicted, targets).items()})
        com = two.criterion(*self._fused(predictions[0], predictions[1]), targets, self.fused_mask_logits)
        return {**losses, **{f"com_{k}": v for k, v in com.items()}}

    def _fused(self, one: Predictions, two: Predictions) -> Predictions:
        """Fuse class logits of paired queries; masks stay those of two models, for :meth:`fused_mask_logits`."""
        (layers_one, features_one), (layers_two, features_two) = one, two
        with torch.autocast(self.device.type, enabled=False):  # sums over pixels are beyond half precision
            pairs = [
                self._pairs(a.class_logits, b.class_logits, partial(_masks, a, f), partial(_masks, b, g))
                for a, b, f, g in zip(layers_one[-1], layers_two[-1], features_one, features_two)
            ]
            first = 0 if self.deep_supervision else -1
            layers = [
                [self._fuse(a, b, pair) for a, b, pair in zip(layer_one, layer_two, pairs)]
                for layer_one, layer_two in zip(layers_one[first:], layers_two[first:])
            ]
        return layers, [(*f, *g) for f, g in zip(features_one, features_two)]

    def _fuse(self, one: Prediction, two: Prediction, pair: Tensor | slice) -> Prediction:
        """Fuse the predictions for one image after one layer."""
        logits = self.fusion.fuse_logits(one.class_logits.float(), two.class_logits[pair].float())
        return Prediction(logits, (*one.mask_embeds, *(embed[pair] for embed in two.mask_embeds)))

    def fused_mask_logits(self, embeds: tuple[Tensor, ...], features: tuple[Tensor, ...]) -> Tensor:
        """Compute (Q, P) fused mask logits from (Q, C) embeddings and (C, P) features of both models."""
        one, two = (embed @ feature for embed, feature in zip(embeds, features))
        return self.fusion.fuse_masks(one.float(), two.float())

    def _pairs(
        self,
        logits_one: Tensor,
        logits_two: Tensor,
        masks_one: Callable[[], Tensor],
        masks_two: Callable[[], Tensor],
    ) -> Tensor | slice:
        """Index that puts model two's queries in the order of model one's.

        Args:
            logits_one: (Q, K + 1).
            logits_two: (Q, K + 1).
            masks_one: Makes (Q, points) mask logits where they are needed.
            masks_two: The same, at the same points.
        """
        if self.pairing == "index":
            return slice(None)
        with torch.no_grad():
            return pair_queries(logits_one, logits_two, masks_one(), masks_two())

    def segment(self, features: Mapping[str, Tensor], items: Sequence[dict], padded: tuple[int, int]) -> list[dict]:
        """See :meth:`PanopticModel.segment`."""
        one, two = self.model_one, self.model_two
        if isinstance(one, MeanTeacherFCCLIP):
            one = one.predictor()
        if self.prediction != "fused":
            return (one if self.prediction == "one" else two).segment(features, items, padded)
        queries_one, masks_one = one.decode_last(features)
        queries_two, masks_two = two.decode_last(features)
        results = []
        for slot, item in enumerate(items):
            classes = two.classes.of(item)
            logits_one = one.in_vocab_logits(queries_one, slot, classes)[0]
            logits_two = two.in_vocab_logits(queries_two, slot, classes)[0]
            grids = partial(_on_grid, masks_one[slot]), partial(_on_grid, masks_two[slot])
            pairs = self._pairs(logits_one, logits_two, *grids)
            logits = self.fusion.fuse_logits(logits_one.float(), logits_two[pairs].float())
            masks = self.fusion.fuse_masks(masks_one[slot].float(), masks_two[slot][pairs].float())
            dense = features["clip_vis_dense"][slot : slot + 1]
            scores = two.class_scores(logits[None], masks[None], dense, classes)[0]
            results.append(two.postprocess(scores, masks, item, padded, classes))
        return results


def _on_grid(maps: Tensor) -> Tensor:
    """(C, h, w) to (C, points): every so many pixels in both directions."""
    steps = [-(-side // _PAIRING_SIDE) for side in maps.shape[-2:]]
    return maps[:, steps[0] // 2 :: steps[0], steps[1] // 2 :: steps[1]].flatten(1)


def _masks(prediction: Prediction, features: tuple[Tensor, ...]) -> Tensor:
    """(Q, points) mask logits of one model from its features (C, h, w)."""
    (embed,), (feature,) = prediction.mask_embeds, features
    return embed.float() @ _on_grid(feature.float())
