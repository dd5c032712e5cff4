"""FC-CLIP without given words: those of each image are found first (AutoSeg, arXiv 2312.04539)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..auto_vocabulary.finder import WordFinder
from ..auto_vocabulary.settings import build_word_finder, check_auto_vocabulary
from ..auto_vocabulary.words import Word, to_vocabulary
from ..class_sets import ClassSets, EvalClasses
from .fcclip import FCCLIP


@META_ARCH_REGISTRY.register()
class AutoVocabularyFCCLIP(FCCLIP):
    """Find the words of each image, and segment it with them. There is nothing to train.

    An item with ``classes`` of its own is segmented with those, as by :class:`FCCLIP`. The result of any other holds

    - ``words``: a tuple of :class:`~zsseg_d2.auto_vocabulary.words.Word`, which may be empty;
    - ``word_seconds``: the time that finding them took;
    - ``panoptic_seg``: (H, W) map and segments, whose ``category_id`` is a position in ``words``;
    - ``semantic_labels``: (H, W) positions in ``words``; -1 everywhere if there is no word;
    - ``given_labels``: (H, W) contiguous ids of the test set's classes, found with their given names
      (MODEL.AUTO_VOCABULARY.GIVEN_NAMES).

    Args:
        finder: finds the words of an image.
        given_names: results hold ``given_labels``.
        model: of :class:`FCCLIP`.
    """

    trainable = False

    @configurable
    def __init__(self, *, finder: WordFinder, given_names: bool = True, **model: Any) -> None:
        super().__init__(**model)
        self.finder = finder  # no module: its weights are not those of a checkpoint
        self.given_names = given_names

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        finder = build_word_finder(cfg)
        return {**super().from_config(cfg), "finder": finder, "given_names": cfg.MODEL.AUTO_VOCABULARY.GIVEN_NAMES}

    @classmethod
    def check_config(cls, cfg: CfgNode) -> None:
        """See :meth:`SegmentationModel.check_config`."""
        check_auto_vocabulary(cfg)

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        raise RuntimeError(
            "AutoVocabularyFCCLIP has nothing to train; train an FCCLIP, and evaluate it with its weights."
        )

    def segment(self, features: Mapping[str, Tensor], items: Sequence[dict], padded: tuple[int, int]) -> list[dict]:
        """See :meth:`PanopticModel.segment`."""
        queries, masks = self.decode_last(features)

        def found(slot: int, item: Mapping, classes: EvalClasses) -> dict:
            return self.segment_image(queries, masks, features, slot, item, padded, classes)

        results = []
        for slot, item in enumerate(items):
            if item.get("classes") is not None:
                results.append(found(slot, item, item["classes"]))
                continue
            start = time.perf_counter()
            with torch.autocast(self.device.type, enabled=False):
                words = self.finder(item["image"]).words
            seconds = time.perf_counter() - start
            asked = {**item, "semantic_labels": True}
            classes = classes_of(words, self.classes)
            result = nothing(item) if classes is None else found(slot, asked, classes)
            if self.given_names:
                result["given_labels"] = found(slot, asked, self.classes.of(item))["semantic_labels"]
            results.append({**result, "words": words, "word_seconds": seconds})
        return results


def classes_of(words: Sequence[Word], sets: ClassSets) -> EvalClasses | None:
    """Return the classes of the words of an image, in their order; None if there are none."""
    vocabulary = to_vocabulary(words)
    if vocabulary is None:
        return None
    return sets.for_found(vocabulary, (k for k, word in enumerate(words) if word.thing))


def nothing(item: Mapping) -> dict:
    """Return the result of an image without words: no segment, and no label."""
    height, width = item["image"].shape[-2:]
    size = (item.get("height", height), item.get("width", width))
    return {
        "panoptic_seg": (torch.zeros(size, dtype=torch.int32), []),
        "semantic_labels": torch.full(size, -1, dtype=torch.int32),
    }
