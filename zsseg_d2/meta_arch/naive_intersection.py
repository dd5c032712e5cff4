"""Naive intersection: In segments of the in-class model and Out segments of the zero-shot one, in one panoptic map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..class_sets import EvalClasses
from ..modeling.merging import merge_panoptic
from .results import image_results
from .two_models import TwoModels


@META_ARCH_REGISTRY.register()
class NaiveIntersection(TwoModels):
    """Segment the image with both models and join the two maps (:func:`merge_panoptic`). There is nothing to train.

    Results hold ``panoptic_seg``, the merged map, and ``panoptic_seg_of``, the maps of ``model_one`` and ``model_two``
    before the merge, from which the class-wise arithmetic of the published table is computed.

    ``sem_seg``, ``semantic_labels`` and ``instances`` are joined class by class: those of Out classes are of model one,
    those of In classes of model two. Scores of both are made of probabilities of the same classes in the same way, so
    they compete as they are, whatever ZSSEG.MERGE says, and TEST.DETECTIONS_PER_IMAGE bounds all instances together.

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
        models, dense = (self.model_one, self.model_two), features["clip_vis_dense"]
        decoded = [model.decode_last(features) for model in models]
        results = []
        for slot, item in enumerate(items):
            classes = self.model_two.classes.of(item)
            # The classes that are taken from model one are those that count as Out in the evaluation.
            inside = [k for k in range(len(classes.vocabulary)) if k not in classes.out]
            maps, scores = [], []
            for model, (queries, masks), own in zip(models, decoded, (classes.out, inside)):
                logits = model.in_vocab_logits(queries, slot, classes)
                found = model.class_scores(logits, masks[slot : slot + 1], dense[slot : slot + 1], classes)[0]
                maps.append(self._map(found, masks[slot], item, padded, classes))
                scores.append(void_of_others(found, own))
            both = torch.cat([masks[slot] for _, masks in decoded])
            result = self._beside_map(torch.cat(scores), both, item, padded, classes)
            result["panoptic_seg_of"] = dict(zip(("model_one", "model_two"), maps))
            result["panoptic_seg"] = merge_panoptic(maps[1], maps[0], classes.out, self.priority, self.min_visible)
            results.append(result)
        return results

    def _map(
        self, scores: Tensor, masks: Tensor, item: Mapping, padded: tuple[int, int], classes: EvalClasses
    ) -> tuple[Tensor, list[dict]]:
        """Return the panoptic map of one model."""
        settings = replace(self.model_two.results, semantic=False, instance=False, panoptic=True)
        alone = {**item, "semantic_labels": False}
        return image_results(scores, masks, alone, padded, classes.things, settings)["panoptic_seg"]

    def _beside_map(
        self, scores: Tensor, masks: Tensor, item: Mapping, padded: tuple[int, int], classes: EvalClasses
    ) -> dict:
        """Return what is asked for beside the map, from the queries of both models."""
        settings, own = self.model_two.results, len(masks) // 2 * (scores.shape[-1] - 1)
        settings = replace(
            settings,
            panoptic=settings.instance,  # with a map, instances are things; it is used for nothing else
            semantic_at_full_size=True,
            max_instances=min(settings.max_instances, own),  # no class of a query of the other model
        )
        return image_results(scores, masks, item, padded, classes.things, settings)


def void_of_others(log_probabilities: Tensor, classes: Iterable[int]) -> Tensor:
    """Count the probability of all but some classes as void; that of each of these classes stays.

    Args:
        log_probabilities: (Q, K + 1), void last; they are normalized here.
        classes: Contiguous ids.

    Returns:
        (Q, K + 1).

    Example:
        >>> void_of_others(torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]]).log(), [0]).exp()
        tensor([[0.7000, 0.0000, 0.3000],
                [0.3000, 0.0000, 0.7000]])
    """
    found = log_probabilities.log_softmax(-1)
    own = torch.zeros(found.shape[-1], dtype=torch.bool, device=found.device)
    own[list(classes)] = True
    void = found.masked_fill(own, float("-inf")).logsumexp(-1, keepdim=True)
    return torch.cat((found.masked_fill(~own, float("-inf"))[:, :-1], void), -1)
