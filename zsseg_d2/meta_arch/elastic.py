"""Fine-tuning that pulls back most strongly what the pre-training needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..class_sets import ClassSets
from ..modeling.fisher import mean_squared_gradients
from .anchored import AnchoredFCCLIP
from .base import Study

_KEY = "ZSSEG.EWC.DATASET"


@META_ARCH_REGISTRY.register()
class ElasticFCCLIP(AnchoredFCCLIP):
    """FC-CLIP with elastic weight consolidation (Kirkpatrick et al. 2017).

    ``loss_anchor`` is w / 2 · Σ F_i (θ_i - θ₀_i)² over the trained weights, with the diagonal Fisher information F of
    the pre-training at θ₀: the mean squared gradient of the loss of an image, over labeled images of its dataset, each
    with that dataset's names. At test time, and in checkpoints, it is an ordinary FC-CLIP.

    Args:
        studied_classes: Classes of the dataset of the pre-training; None: none is named, and nothing can be studied.
        anchored: Of :class:`AnchoredFCCLIP`.
    """

    @configurable
    def __init__(self, *, studied_classes: ClassSets | None, **anchored: Any) -> None:
        super().__init__(**anchored)
        if studied_classes is not None:
            self.anchor.classes = studied_classes

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        name = cfg.ZSSEG.EWC.DATASET
        classes = ClassSets(train=(name,), num_classes=0, pretraining_vocabulary=cfg.ZSSEG.PRETRAINING_VOCABULARY)
        return {**super().from_config(cfg), "studied_classes": classes if name else None}

    @classmethod
    def check_config(cls, cfg: CfgNode) -> None:
        if cfg.DATASETS.TRAIN:
            ClassSets.from_config(cfg).check_pretraining(_KEY, cfg.ZSSEG.EWC.DATASET)

    @classmethod
    def study_of(cls, cfg: CfgNode) -> Study:
        return Study(_KEY, cfg.ZSSEG.EWC.DATASET, cfg.ZSSEG.EWC.IMAGES)

    def study(self, items: Iterable[dict]) -> dict[str, Tensor]:
        """Return the diagonal Fisher information at θ₀ by name of the weight (see :func:`mean_squared_gradients`)."""
        fixed = dict(self.anchor.named_parameters())
        weights = {name: fixed[name] for name, p in self.named_parameters() if p.requires_grad}
        for weight in weights.values():
            weight.requires_grad_(True)
        try:
            losses = (torch.stack(tuple(self.anchor.losses([item]).values())).sum() for item in items)
            return mean_squared_gradients(losses, weights)
        finally:
            self.anchor.requires_grad_(False)

    def use_study(self, found: Mapping[str, Tensor]) -> None:
        """Take the Fisher information.

        Raises:
            ValueError: It is of other weights.
        """
        own = {name: p.shape for name, p in self.named_parameters() if p.requires_grad}
        if own != {name: value.shape for name, value in found.items()}:
            raise ValueError("its values are of other weights")
        self.importance = {name: value.to(self.device) for name, value in found.items()}

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """Compute the weighted losses of a training batch, and the penalty."""
        if not self.importance:
            raise RuntimeError("ElasticFCCLIP needs the Fisher information. Fix: call use_study(study(items)).")
        return super().losses(batched_inputs)
