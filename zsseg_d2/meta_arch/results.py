"""Results of one image: semantic, instance and panoptic segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from detectron2.config import CfgNode
from torch import Tensor

from ..modeling.postprocessing import instance_inference, panoptic_inference, semantic_inference, semantic_labels
from ..modeling.upsampling import Upsampler


@dataclass(frozen=True)
class ResultSettings:
    """Which results are computed, and by which thresholds (MODEL.MASK_FORMER.TEST).

    Attributes:
        semantic: Results have ``sem_seg``.
        instance: Results have ``instances``.
        panoptic: Results have ``panoptic_seg``.
        object_mask_threshold: Queries below this class score take no part in the panoptic map.
        overlap_threshold: Part of its mask's area that a segment must win.
        semantic_at_full_size: Sum semantic scores at the output's size instead of resizing them afterwards.
        max_instances: Instances per image.
    """

    semantic: bool = True
    instance: bool = False
    panoptic: bool = False
    object_mask_threshold: float = 0.0
    overlap_threshold: float = 0.8
    semantic_at_full_size: bool = False
    max_instances: int = 100

    @classmethod
    def from_config(cls, cfg: CfgNode) -> ResultSettings:
        test = cfg.MODEL.MASK_FORMER.TEST
        return cls(
            semantic=test.SEMANTIC_ON,
            instance=test.INSTANCE_ON,
            panoptic=test.PANOPTIC_ON,
            object_mask_threshold=test.OBJECT_MASK_THRESHOLD,
            overlap_threshold=test.OVERLAP_THRESHOLD,
            semantic_at_full_size=test.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE,
            max_instances=cfg.TEST.DETECTIONS_PER_IMAGE,
        )


def image_results(
    scores: Tensor,
    masks: Tensor,
    item: Mapping,
    padded: tuple[int, int],
    things: AbstractSet[int],
    settings: ResultSettings,
) -> dict:
    """Make the results of one image.

    Args:
        scores: (Q, K + 1) class log-probabilities, void last.
        masks: (Q, h, w) mask logits.
        item: Of the input. It may ask for ``semantic_labels`` (H, W), which take less memory than ``sem_seg``, and give
            ``encode_masks`` for its instances (see :func:`instance_inference`).
        padded: (H, W) of the padded image.
        things: Contiguous ids of thing classes.
        settings: Which results, and by which thresholds.

    Returns:
        ``panoptic_seg``, ``sem_seg``, ``instances`` and ``semantic_labels``, as switched on.
    """
    image = (item["image"].shape[-2], item["image"].shape[-1])
    size = (item.get("height", image[0]), item.get("width", image[1]))
    upsample = Upsampler(padded, image, size)
    result: dict = {}
    if settings.semantic:
        if settings.semantic_at_full_size or settings.panoptic or settings.instance:
            result["sem_seg"] = semantic_inference(scores, masks, upsample)
        else:
            coarse = semantic_inference(scores, masks, Upsampler(padded, image, image))
            result["sem_seg"] = Upsampler(image, image, size)(coarse)
    if item.get("semantic_labels"):
        result["semantic_labels"] = semantic_labels(scores, masks, upsample)
    if settings.panoptic:
        result["panoptic_seg"] = panoptic_inference(
            scores, masks, upsample, things, settings.object_mask_threshold, settings.overlap_threshold
        )
    if settings.instance:
        of_things = things if settings.panoptic else None
        encode = item.get("encode_masks")
        result["instances"] = instance_inference(scores, masks, upsample, of_things, settings.max_instances, encode)
    return result
