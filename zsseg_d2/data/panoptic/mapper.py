"""Records -> training tensors: reading, augmentation, masks. All random numbers come from ``numpy.random``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances

from ..annotations import read_annotation
from ..images.reading import ImageRules, annotated_size, read_annotated_rgb
from .augmentations import VOID_CATEGORY, jitter_augmentations, resize_augmentations, test_augmentations

MAPPERS: dict[str, str] = {
    "panoptic": "panoptic",
    "panoptic_lsj": "panoptic_lsj",
    "semantic": "semantic",
    "mask_former_panoptic": "panoptic",
    "coco_panoptic_lsj": "panoptic_lsj",
    "mask_former_semantic": "semantic",
}
"""Accepted values of INPUT.DATASET_MAPPER_NAME (FC-CLIP's names among them) and their meanings."""


class PanopticMapper:
    """Map a record to an item of a batch.

    Items hold ``image`` ((3, H, W) uint8 RGB), ``height`` and ``width`` (of the original image, in pixels),
    ``file_name``, ``image_id`` and ``dataset_name``; in training also ``instances`` with ``gt_classes`` ((N,) int64)
    and ``gt_masks`` ((N, H, W) bool), and, with `ignore_uncovered`, ``ignore`` ((H, W) bool): pixels without a target,
    at which no loss is taken.

    Crowd segments and segments that the augmentation cut away give no target. Images are never padded here, not even by
    large-scale jitter: an image smaller than the crop keeps its size, and the model pads and masks the batch.

    Args:
        augmentations: applied in this order.
        training: make targets.
        merge_classes: make one target per class (semantic segmentation) instead of one per segment.
        ignore_uncovered: add ``ignore``.
        rules: limits of images, and what their EXIF orientation means; None: the defaults.
    """

    @configurable
    def __init__(
        self,
        augmentations: Sequence[T.Augmentation],
        *,
        training: bool,
        merge_classes: bool = False,
        ignore_uncovered: bool = False,
        rules: ImageRules | None = None,
    ) -> None:
        self.augmentations = T.AugmentationList(list(augmentations))
        self.training = training
        self.merge_classes = merge_classes
        self.ignore_uncovered = ignore_uncovered
        self.rules = rules or ImageRules()

    @classmethod
    def from_config(cls, cfg: CfgNode, training: bool) -> dict:
        """Return the arguments that a config gives.

        Raises:
            ValueError: INPUT.DATASET_MAPPER_NAME is unknown.
        """
        kind = mapper_kind(cfg.INPUT.DATASET_MAPPER_NAME)
        rules = ImageRules.from_config(cfg)
        if not training:
            return {"augmentations": test_augmentations(cfg), "training": False, "rules": rules}
        augmentations = jitter_augmentations(cfg) if kind == "panoptic_lsj" else resize_augmentations(cfg)
        return {
            "augmentations": augmentations,
            "training": True,
            "merge_classes": kind == "semantic",
            "ignore_uncovered": cfg.ZSSEG.DELETED_PIXELS == "ignore",
            "rules": rules,
        }

    def __call__(self, record: dict) -> dict:
        """Read and augment one image.

        Raises:
            DatasetError: a file is missing or damaged, or image, PNG and record do not belong together.
        """
        size = (record["height"], record["width"]) if "height" in record else None
        image = read_annotated_rgb(record["file_name"], size, self.rules)
        item = {
            "file_name": record["file_name"],
            "image_id": record["image_id"],
            "dataset_name": record.get("dataset_name", ""),
            "height": image.shape[0],
            "width": image.shape[1],
        }
        if not self.training:
            return {**item, "image": self.prepared(image)}
        self._add_targets(item, image, record)
        return item

    def is_wide(self, record: dict) -> bool:
        """Tell whether an image is wider than high; where the record does not say, its file is opened.

        Raises:
            DatasetError: the file is missing or damaged.
        """
        if "height" in record:
            return record["width"] > record["height"]
        height, width = annotated_size(record["file_name"], self.rules)
        return width > height

    def prepared(self, image: np.ndarray) -> torch.Tensor:
        """Augment an (H, W, 3) uint8 RGB image without labels, and return (3, H', W') uint8."""
        inputs = T.AugInput(image)
        self.augmentations(inputs)
        return _to_tensor(inputs.image)

    def _add_targets(self, item: dict, image: np.ndarray, record: dict) -> None:
        """Augment image and annotation together, and add both to `item`."""
        ids, annotated = read_annotation(record, (image.shape[0], image.shape[1]), complete=False)
        segments = [s for s in annotated if not s["iscrowd"]]
        numbers = _number_segments(ids, segments)
        classes = np.array([s["category_id"] for s in segments], dtype=np.int64)
        inputs = T.AugInput(image, sem_seg=_category_map(numbers, classes))
        transforms = self.augmentations(inputs)
        numbers = _unpack(transforms.apply_segmentation(_pack(numbers)))
        item["image"] = _to_tensor(inputs.image)
        item["instances"] = self._targets(numbers, classes)
        if self.ignore_uncovered:
            item["ignore"] = torch.from_numpy(numbers == 0)

    def _targets(self, numbers: np.ndarray, classes: np.ndarray) -> Instances:
        """Return the targets of an image.

        Args:
            numbers: (H, W) i + 1 at the pixels of segment i, 0 elsewhere.
            classes: (S,) the class of each segment.
        """
        if self.merge_classes:
            merged, of_segment = np.unique(classes, return_inverse=True)
            numbers = np.concatenate(([0], of_segment + 1))[numbers]
            classes = merged
        present = np.flatnonzero(np.bincount(numbers.ravel(), minlength=len(classes) + 1)[1:])
        instances = Instances(numbers.shape)
        instances.gt_classes = torch.from_numpy(classes[present])
        wanted = torch.from_numpy(present + 1).view(-1, 1, 1)
        instances.gt_masks = torch.from_numpy(np.ascontiguousarray(numbers)) == wanted  # (N, H, W)
        return instances


def mapper_kind(name: str) -> str:
    """Return ``"panoptic"``, ``"panoptic_lsj"`` or ``"semantic"`` for a value of INPUT.DATASET_MAPPER_NAME.

    Raises:
        ValueError: unknown.
    """
    if name not in MAPPERS:
        raise ValueError(
            f"INPUT.DATASET_MAPPER_NAME={name!r}: unknown. Fix: choose one of {', '.join(sorted(MAPPERS))}. Records "
            "are panoptic, so there is no instance mapper."
        )
    return MAPPERS[name]


def _to_tensor(image: np.ndarray) -> torch.Tensor:
    """Convert (H, W, 3) to a contiguous (3, H, W)."""
    return torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C"))


def _number_segments(ids: np.ndarray, segments: Sequence[Mapping]) -> np.ndarray:
    """Convert (H, W) segment ids to i + 1 at the pixels of ``segments[i]``, 0 elsewhere."""
    listed = np.array([s["id"] for s in segments], dtype=ids.dtype)
    order = np.argsort(listed)
    place = np.searchsorted(listed, ids, sorter=order).clip(max=max(len(listed) - 1, 0))
    if not len(listed):
        return np.zeros(ids.shape, np.int64)
    index = order[place]
    return np.where(listed[index] == ids, index + 1, 0)


def _category_map(numbers: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return (H, W) uint8, a number for each class of this image, 255 = void: for crops that limit a class's area."""
    _, of_segment = np.unique(classes, return_inverse=True)
    return np.concatenate(([VOID_CATEGORY], of_segment)).astype(np.uint8)[numbers]


def _pack(numbers: np.ndarray) -> np.ndarray:
    """Convert (H, W) in [0, 65535] to (H, W, 3) uint8, which transforms resize by Pillow, on the image's grid."""
    return np.stack((numbers & 255, numbers >> 8, np.zeros_like(numbers)), -1).astype(np.uint8)


def _unpack(packed: np.ndarray) -> np.ndarray:
    """Invert :func:`_pack`."""
    return packed[..., 0].astype(np.int64) | packed[..., 1].astype(np.int64) << 8
