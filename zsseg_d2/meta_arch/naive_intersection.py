"""Naive intersection: In segments of the in-class model, Out segments of the zero-shot one, in one panoptic map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..class_sets import evaluated_out_classes
from ..modeling.merging import merge_panoptic
from .two_models import TwoModels


@META_ARCH_REGISTRY.register()
class NaiveIntersection(TwoModels):
    """Both models segment the image by themselves; :func:`merge_panoptic` joins the maps. There is nothing to train.

    Results hold ``panoptic_seg``, the merged map, and ``panoptic_seg_of``, the maps of ``model_one`` and ``model_two``
    before the merge, from which the class-wise arithmetic of the published table can be told.
    """

    trainable = False

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        raise RuntimeError(
            "NaiveIntersection joins two trained models and has nothing to train; evaluate it (--eval-only)."
        )

    def segment(self, features: Mapping[str, Tensor], items: Sequence[dict], padded: tuple[int, int]) -> list[dict]:
        """See :meth:`FCCLIP.segment`."""
        results = []
        pairs = zip(*(m.segment(features, items, padded) for m in (self.model_one, self.model_two)))
        for item, (one, two) in zip(items, pairs):
            result = {k: v for k, v in two.items() if k != "panoptic_seg"}
            result["panoptic_seg_of"] = {"model_one": one["panoptic_seg"], "model_two": two["panoptic_seg"]}
            result["panoptic_seg"] = merge_panoptic(
                two["panoptic_seg"],
                one["panoptic_seg"],
                self.out_classes(item.get("dataset_name")),
                self.cfg.ZSSEG.MERGE.PRIORITY,
                self.cfg.ZSSEG.MERGE.MIN_VISIBLE,
            )
            results.append(result)
        return results

    def out_classes(self, dataset: str | None) -> Sequence[int]:
        """Contiguous ids that are taken from ``model_one``, the same that count as Out in the evaluation."""
        return evaluated_out_classes(self.cfg, dataset or self.cfg.DATASETS.TEST[0])
