"""Naive intersection: In segments of the in-class model and Out segments of the zero-shot one, in one panoptic map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..modeling.merging import merge_panoptic
from .two_models import TwoModels


@META_ARCH_REGISTRY.register()
class NaiveIntersection(TwoModels):
    """Segment the image with both models and join the two maps (:func:`merge_panoptic`). There is nothing to train.

    Results hold ``panoptic_seg``, the merged map, and ``panoptic_seg_of``, the maps of ``model_one`` and ``model_two``
    before the merge, from which the class-wise arithmetic of the published table is computed.

    Args:
        priority: ZSSEG.MERGE.PRIORITY, which model gets pixels that both claim.
        min_visible: ZSSEG.MERGE.MIN_VISIBLE, the part of its pixels that a segment must keep, in [0, 1].
        models: Of :class:`TwoModels`.
    """

    trainable = False

    @configurable
    def __init__(self, *, priority: str, min_visible: float, **models: Any) -> None:
        super().__init__(**models)
        self.priority = priority
        self.min_visible = min_visible

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        merge = cfg.ZSSEG.MERGE
        return {**super().from_config(cfg), "priority": merge.PRIORITY, "min_visible": merge.MIN_VISIBLE}

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        raise RuntimeError(
            "NaiveIntersection joins two trained models and has nothing to train; evaluate it (--eval-only)."
        )

    def segment(self, features: Mapping[str, Tensor], items: Sequence[dict], padded: tuple[int, int]) -> list[dict]:
        """See :meth:`PanopticModel.segment`."""
        results = []
        pairs = zip(*(m.segment(features, items, padded) for m in (self.model_one, self.model_two)))
        for item, (one, two) in zip(items, pairs):
            result = {k: v for k, v in two.items() if k != "panoptic_seg"}
            result["panoptic_seg_of"] = {"model_one": one["panoptic_seg"], "model_two": two["panoptic_seg"]}
            # The classes that are taken from model one are those that count as Out in the evaluation.
            out = self.model_two.classes.of(item).out
            result["panoptic_seg"] = merge_panoptic(
                two["panoptic_seg"], one["panoptic_seg"], out, self.priority, self.min_visible
            )
            results.append(result)
        return results
