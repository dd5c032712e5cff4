"""Combined: two FC-CLIP models trained together, their predictions fused (DESIGN, "Combined")."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..modeling.fcclip.criterion import Prediction
from ..modeling.fcclip.matcher import pair_queries
from ..modeling.fusion import FusionSettings, fuse_logits, fuse_masks
from .two_models import TwoModels

_PAIRING_SIDE = 64  # masks are compared on a grid of at most this many points a side, to pair queries


@META_ARCH_REGISTRY.register()
class CombinedFCCLIP(TwoModels):
    """L = L₁ + L₂ + L_fused: each model's own losses, ``m1_*`` and ``m2_*``, and those of the fused predictions, ``com_*``.

    Class logits and masks of paired queries are fused by the rule ZSSEG.FUSION.NAME (:mod:`zsseg_d2.modeling.fusion`). At
    test time model one, model two or the fusion predicts (ZSSEG.FUSION.PREDICTION).
    """

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """Weighted losses of a training batch (see :class:`SetCriterion`); CLIP sees it once."""
        one, two = self.model_one, self.model_two
        batches = one.padded_batches(batched_inputs)
        features = [one.backbone(images) for _, images in batches]
        targets = one.targets(batched_inputs, batches)
        predicted = [model.predictions(model.decode(features)) for model in (one, two)]
        losses = {}
        for name, model, prediction in zip(("m1", "m2"), (one, two), predicted):
            losses.update({f"{name}_{k}": v for k, v in model.criterion(*prediction, targets).items()})
        com = two.criterion(*self._fused(*predicted), targets, self.fused_mask_logits)
        return {**losses, **{f"com_{k}": v for k, v in com.items()}}

    def _fused(self, one: tuple, two: tuple) -> tuple[list[list[Prediction]], list[Tensor]]:
        """Predictions whose embeddings and features are those of both models side by side, for :meth:`fused_mask_logits`."""
        (layers_one, features_one), (layers_two, features_two) = one, two
        with torch.autocast(self.device.type, enabled=False):  # sums over pixels are beyond half precision
            return self._side_by_side(layers_one, features_one, layers_two, features_two)

    def _side_by_side(
        self, layers_one, features_one, layers_two, features_two
    ) -> tuple[list[list[Prediction]], list[Tensor]]:
        pairs = [
            self._pairs(a.class_logits, b.class_logits, partial(_masks, a, f), partial(_masks, b, g))
            for a, b, f, g in zip(layers_one[-1], layers_two[-1], features_one, features_two)
        ]
        first = 0 if self.cfg.ZSSEG.FUSION.DEEP_SUPERVISION else -1
        layers = [
            [
                Prediction(
                    self._logits(a.class_logits, b.class_logits[p]), torch.cat((a.mask_embed, b.mask_embed[p]), -1)
                )
                for a, b, p in zip(layer_one, layer_two, pairs)
            ]
            for layer_one, layer_two in zip(layers_one[first:], layers_two[first:])
        ]
        return layers, [torch.cat((f, g)) for f, g in zip(features_one, features_two)]

    def fused_mask_logits(self, mask_embed: Tensor, features: Tensor) -> Tensor:
        """(Q, 2C) embeddings and (2C, P) features of both models to (Q, P) fused mask logits."""
        (a, b), (f, g) = mask_embed.chunk(2, -1), features.chunk(2)
        return fuse_masks(a @ f, b @ g, self._settings)

    def _logits(self, one: Tensor, two: Tensor) -> Tensor:
        fused = fuse_logits(one, two, self._settings)
        return fused if self._settings.name in ("mean", "weighted") else fused * self.cfg.ZSSEG.FUSION.SCALE

    def _pairs(
        self, logits_one: Tensor, logits_two: Tensor, masks_one: Callable, masks_two: Callable
    ) -> Tensor | slice:
        """What puts model two's queries in the order of model one's. Logits (Q, K + 1); masks () -> (Q, pixels)."""
        if self.cfg.ZSSEG.FUSION.PAIRING == "index":
            return slice(None)
        with torch.no_grad():
            return pair_queries(logits_one, logits_two, masks_one(), masks_two())

    @property
    def _settings(self) -> FusionSettings:
        return fusion_settings(self.cfg)

    def segment(self, features: Mapping[str, Tensor], items: Sequence[dict], padded: tuple[int, int]) -> list[dict]:
        """See :meth:`FCCLIP.segment`."""
        one, two = self.model_one, self.model_two
        if self.cfg.ZSSEG.FUSION.PREDICTION != "fused":
            return (one if self.cfg.ZSSEG.FUSION.PREDICTION == "one" else two).segment(features, items, padded)
        decoded = [model.decode_last(features) for model in (one, two)]
        results = []
        for slot, item in enumerate(items):
            classes = two.classes(item.get("dataset_name"))
            inside = [m.in_vocab_logits(queries, slot, classes)[0] for m, (queries, _) in zip((one, two), decoded)]
            masks = [m[slot] for _, m in decoded]
            pairs = self._pairs(*inside, *(partial(_on_grid, m) for m in masks))
            logits = self._logits(inside[0], inside[1][pairs])
            fused = fuse_masks(masks[0], masks[1][pairs], self._settings)
            dense = features["clip_vis_dense"][slot : slot + 1]
            scores = two.class_scores(logits[None], fused[None], dense, classes)[0]
            results.append(two.postprocess(scores, fused, item, padded, classes))
        return results


def _on_grid(maps: Tensor) -> Tensor:
    """(C, h, w) to (C, points): every so many pixels in both directions."""
    steps = [-(-side // _PAIRING_SIDE) for side in maps.shape[-2:]]
    return maps[:, steps[0] // 2 :: steps[0], steps[1] // 2 :: steps[1]].flatten(1)


def _masks(prediction: Prediction, features: Tensor) -> Tensor:
    """(Q, points) mask logits from features (C, h, w)."""
    return prediction.mask_embed.float() @ _on_grid(features.float())


def fusion_settings(cfg: CfgNode) -> FusionSettings:
    """ZSSEG.FUSION as :func:`fuse_logits` and :func:`fuse_masks` read it."""
    fusion = cfg.ZSSEG.FUSION
    return FusionSettings(fusion.NAME, fusion.WEIGHT, fusion.THRESHOLD, fusion.TOP_K)
