"""Two FC-CLIP models over one frozen CLIP: what the meta-architectures of two models share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import build_sem_seg_head
from torch import Tensor

from ..modeling.padding import Padding
from .base import PanopticModel, PartWeights
from .batches import PaddedBatch
from .fcclip import FCCLIP


class TwoModels(PanopticModel):
    """Base of methods with two models.

    Each has a file of initial weights of its own. A checkpoint of both holds ``model_one.*`` and ``model_two.*``, each
    an ordinary FC-CLIP checkpoint but for the prefix.

    Args:
        model_one: The out-of-vocabulary specialist.
        model_two: The in-vocabulary one, over the same CLIP.
        base: Of :class:`SegmentationModel`.
    """

    @configurable
    def __init__(self, *, model_one: FCCLIP, model_two: FCCLIP, **base: Any) -> None:
        super().__init__(**base)
        self.model_one = model_one
        self.model_two = model_two

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        one = cls.build_model_one(cfg)
        two = one.with_shared_backbone(build_sem_seg_head(cfg, one.backbone.output_shape()))
        return {**cls.base_arguments(cfg), "model_one": one, "model_two": two}

    @classmethod
    def build_model_one(cls, cfg: CfgNode) -> FCCLIP:
        """Build model one, whose CLIP model two shares."""
        return FCCLIP(**FCCLIP.from_config(cfg))

    @classmethod
    def part_weights(cls, cfg: CfgNode) -> dict[str, PartWeights]:
        return {
            "model_one": PartWeights("ZSSEG.MODEL_ONE.WEIGHTS", cfg.ZSSEG.MODEL_ONE.WEIGHTS),
            "model_two": PartWeights("ZSSEG.MODEL_TWO.WEIGHTS", cfg.ZSSEG.MODEL_TWO.WEIGHTS),
        }

    @property
    def device(self) -> torch.device:
        return self.model_one.device

    def padded_batches(self, batched_inputs: Sequence[Mapping]) -> list[PaddedBatch]:
        return self.model_one.padded_batches(batched_inputs)

    def clip_features(self, images: Tensor, padding: Padding | None = None) -> dict[str, Tensor]:
        return self.model_one.clip_features(images, padding)
