"""Frozen queries for the deleted classes beside new ones for the kept classes, over one pixel decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..class_sets import EvalClasses
from ..modeling.fcclip.adapted import AdaptedPixelDecoder
from ..modeling.fcclip.head import FCCLIPHead
from ..modeling.fcclip.interfaces import QueryDecoder
from ..modeling.registries import TRANSFORMER_DECODER_REGISTRY
from .fcclip import FCCLIP

_NEW = "kept"


@META_ARCH_REGISTRY.register()
class FrozenQueriesFCCLIP(FCCLIP):
    """Zero-shot FC-CLIP, frozen, whose queries answer for the classes without labels; new queries learn the others.

    After the idea of Kim et al. 2024 ("ECLIPSE: Efficient Continual Learning in Panoptic Segmentation with Visual
    Prompt Tuning"): what the model knows is frozen, and new classes get queries of their own. Here the second set of
    queries starts as a copy of the first, with a query decoder and a void embedding of its own; both read one frozen
    pixel decoder, the new ones through small adapters. All queries compete in one panoptic rule, in which a query of
    either set takes part if its most likely class is one that its set answers for.

    A checkpoint holds the frozen model under FC-CLIP's names and the new queries as ``kept.*``.

    Args:
        make_predictor: Builds the query decoder of the new queries.
        adapter_width: Hidden channels of the adapters; 0: no adapters.
        dims: Channels of the mask features, and of the maps at strides 32, 16 and 8.
        frozen: Of :class:`FCCLIP`, the zero-shot model.
    """

    @configurable
    def __init__(
        self,
        *,
        make_predictor: Callable[[], QueryDecoder],
        adapter_width: int,
        dims: tuple[int, int],
        **frozen: Any,
    ) -> None:
        super().__init__(**frozen)
        self.requires_grad_(False)
        shared, (mask_dim, dim) = self.sem_seg_head.pixel_decoder, dims
        adapted = AdaptedPixelDecoder(shared, mask_dim=mask_dim, dim=dim, width=adapter_width)
        self.kept = self.with_shared_backbone(FCCLIPHead(pixel_decoder=adapted, predictor=make_predictor()))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        decoder = TRANSFORMER_DECODER_REGISTRY.get(cfg.MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME)
        return {
            **super().from_config(cfg),
            "make_predictor": lambda: decoder(cfg),
            "adapter_width": cfg.ZSSEG.FROZEN_QUERIES.ADAPTER,
            "dims": (cfg.MODEL.SEM_SEG_HEAD.MASK_DIM, cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM),
        }

    def complete_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Let the new queries start as a copy of the frozen ones where a file has none."""
        if any(name.startswith(f"{_NEW}.") for name in state):
            return dict(state)
        copied = {f"{_NEW}.{name}": value for name, value in state.items() if ".pixel_decoder." not in name}
        prefix = f"{_NEW}.sem_seg_head.pixel_decoder."
        adapters = {name: value for name, value in self.state_dict().items() if name.startswith(prefix)}
        return {**state, **copied, **adapters}

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """Compute the weighted losses of a training batch for the new queries (see :class:`SetCriterion`)."""
        return self.kept.losses(batched_inputs)

    def segment(self, features: Mapping[str, Tensor], items: Sequence[dict], padded: tuple[int, int]) -> list[dict]:
        """See :meth:`PanopticModel.segment`."""
        frozen, new = self.sem_seg_head, self.kept.sem_seg_head
        lateral, scales, projection = frozen.pixel_decoder.unprojected(features)
        old_queries = frozen.predictor.last(scales, lateral, projection)
        mask_features = lateral if projection is None else projection(lateral)
        adapter = new.pixel_decoder
        assert isinstance(adapter, AdaptedPixelDecoder)
        adapted, adapted_scales = adapter.adapt(mask_features, scales)
        new_queries = new.predictor.last(adapted_scales, adapted)
        results = []
        for slot, item in enumerate(items):
            classes = self.classes.of(item)
            learned = self.learned(classes)
            others = [k for k in range(len(classes.vocabulary)) if k not in learned]
            dense = features["clip_vis_dense"][slot : slot + 1]
            scores, masks = [], []
            for model, queries, own in ((self, old_queries, others), (self.kept, new_queries, learned)):
                assert queries.mask_logits is not None
                logits = model.in_vocab_logits(queries, slot, classes)
                masks.append(queries.mask_logits[slot])
                found = model.class_scores(logits, masks[-1][None], dense, classes)[0]
                scores.append(answering_for(found, own))
            results.append(self.postprocess(torch.cat(scores), torch.cat(masks), item, padded, classes))
        return results

    def learned(self, classes: EvalClasses) -> list[int]:
        """Return the contiguous ids of an evaluation that training had labels of, by their names."""
        training = self.classes.training
        names = training.vocabulary.subset(k for k in training.kept if k not in training.unlabeled)
        return [k for k, known in enumerate(classes.vocabulary.seen_in(names)) if known]


def answering_for(log_probabilities: Tensor, classes: Iterable[int]) -> Tensor:
    """Make void of the queries whose most likely entry is none of some classes; the others stay as they are.

    Args:
        log_probabilities: (Q, K + 1), void last.
        classes: Contiguous ids.

    Returns:
        (Q, K + 1).

    Example:
        >>> answering_for(torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]]).log(), [0]).exp()
        tensor([[0.7000, 0.2000, 0.1000],
                [0.0000, 0.0000, 1.0000]])
    """
    own = torch.tensor(list(classes), device=log_probabilities.device, dtype=torch.int64)
    stays = torch.isin(log_probabilities.argmax(-1), own)
    void = torch.full_like(log_probabilities, float("-inf"))
    void[:, -1] = 0
    return torch.where(stays[:, None], log_probabilities, void)
