"""Records -> training tensors: reading, augmentation, masks. Every random draw comes from ``numpy.random``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances
from PIL import Image, ImageOps

from .panoptic_png import DatasetError, check_segments, open_image, read_panoptic_png

MAPPERS: dict[str, str] = {
    "panoptic": "panoptic",
    "panoptic_lsj": "panoptic_lsj",
    "semantic": "semantic",
    "mask_former_panoptic": "panoptic",
    "coco_panoptic_lsj": "panoptic_lsj",
    "mask_former_semantic": "semantic",
}
"""Accepted values of INPUT.DATASET_MAPPER_NAME (FC-CLIP's names among them) and what each means."""

_VOID_CATEGORY = 255


class PanopticMapper:
    """One record in, one item of a batch out.

    Items hold ``image`` ((3, H, W) uint8 RGB), ``height`` and ``width`` (the original pixels), ``file_name``, ``image_id``
    and ``dataset_name``; in training also ``instances`` with ``gt_classes`` ((N,) int64) and ``gt_masks`` ((N, H, W) bool),
    and ``ignore`` ((H, W) bool, the pixels of no target) where such pixels take no part in the loss.

    Crowd segments and segments that the augmentation cut away give no target. Images are never padded here, also not by
    large-scale jitter: an image smaller than the crop keeps its size, and the model pads and masks the batch.
    """

    @configurable
    def __init__(
        self,
        augmentations: Sequence[T.Augmentation],
        *,
        training: bool,
        merge_classes: bool = False,
        ignore_uncovered: bool = False,
    ) -> None:
        """
        Args:
            augmentations: applied in this order.
            training: make targets.
            merge_classes: one target a class (semantic segmentation), instead of one a segment.
            ignore_uncovered: add ``ignore``.
        """
        self.augmentations = T.AugmentationList(list(augmentations))
        self.training = training
        self.merge_classes = merge_classes
        self.ignore_uncovered = ignore_uncovered

    @classmethod
    def from_config(cls, cfg: CfgNode, training: bool) -> dict:
        """Arguments from a config.

        Raises:
            ValueError: INPUT.DATASET_MAPPER_NAME is unknown.
        """
        kind = mapper_kind(cfg.INPUT.DATASET_MAPPER_NAME)
        if not training:
            return {"augmentations": test_augmentations(cfg), "training": False}
        augmentations = jitter_augmentations(cfg) if kind == "panoptic_lsj" else resize_augmentations(cfg)
        return {
            "augmentations": augmentations,
            "training": True,
            "merge_classes": kind == "semantic",
            "ignore_uncovered": cfg.ZSSEG.DELETED_PIXELS == "ignore",
        }

    def __call__(self, record: dict) -> dict:
        """
        Raises:
            DatasetError: a file is missing or damaged, or image, PNG and record do not belong together.
        """
        image = read_rgb(record["file_name"])
        size = image.shape[:2]
        expected = (record.get("height", size[0]), record.get("width", size[1]))
        if size != expected:
            raise DatasetError(
                f"{record['file_name']} is {size[1]}x{size[0]} pixels, but its annotation says {expected[1]}x{expected[0]} "
                "(width x height); image and annotation must come from the same data set."
            )
        item = {
            "file_name": record["file_name"],
            "image_id": record["image_id"],
            "dataset_name": record.get("dataset_name", ""),
            "height": size[0],
            "width": size[1],
        }
        if not self.training:
            inputs = T.AugInput(image)
            self.augmentations(inputs)
            return {**item, "image": _to_tensor(inputs.image)}
        ids = read_panoptic_png(record["pan_seg_file_name"], size)
        check_segments(ids, record["segments_info"], record["pan_seg_file_name"], complete=False)
        segments = [s for s in record["segments_info"] if not s["iscrowd"]]
        numbers = _number_segments(ids, segments)
        classes = np.array([s["category_id"] for s in segments], dtype=np.int64)
        inputs = T.AugInput(image, sem_seg=_category_map(numbers, classes))
        transforms = self.augmentations(inputs)
        numbers = _unpack(transforms.apply_segmentation(_pack(numbers)))
        item["image"] = _to_tensor(inputs.image)
        item["instances"] = self._targets(numbers, classes)
        if self.ignore_uncovered:
            item["ignore"] = torch.from_numpy(numbers == 0)
        return item

    def _targets(self, numbers: np.ndarray, classes: np.ndarray) -> Instances:
        """
        Args:
            numbers: (H, W) 0 = of no target, i + 1 = of segment i. classes: (S,) the class of each segment.
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
    """``"panoptic"``, ``"panoptic_lsj"`` or ``"semantic"`` for a value of INPUT.DATASET_MAPPER_NAME.

    Raises:
        ValueError: unknown.
    """
    if name not in MAPPERS:
        raise ValueError(
            f"INPUT.DATASET_MAPPER_NAME '{name}' is unknown; choose one of {', '.join(sorted(MAPPERS))}. Records are "
            "panoptic, so there is no instance mapper."
        )
    return MAPPERS[name]


def read_rgb(path: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of any picture: grey, palette and alpha are converted, the EXIF orientation is applied.

    Raises:
        DatasetError: missing or damaged.
    """
    image = ImageOps.exif_transpose(open_image(path))
    if image.mode.startswith("I;16"):  # Pillow clips 16-bit grey instead of scaling it
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.asarray(image.convert("RGB"))


def test_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """Short side to INPUT.MIN_SIZE_TEST, long side at most INPUT.MAX_SIZE_TEST."""
    return [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)]


test_augmentations.__test__ = False  # not a test, whatever its name looks like to pytest


def resize_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """Mask2Former's order: short-side resize, crop, colour, flip."""
    settings = cfg.INPUT
    found: list[T.Augmentation] = [
        T.ResizeShortestEdge(settings.MIN_SIZE_TRAIN, settings.MAX_SIZE_TRAIN, settings.MIN_SIZE_TRAIN_SAMPLING)
    ]
    if settings.CROP.ENABLED:
        found.append(
            T.RandomCrop_CategoryAreaConstraint(
                settings.CROP.TYPE, settings.CROP.SIZE, settings.CROP.SINGLE_CATEGORY_MAX_AREA, _VOID_CATEGORY
            )
        )
    return found + _color(cfg) + _flip(cfg)


def jitter_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """Large-scale jitter (Ghiasi et al. 2021): flip, resize by a wide range of factors, crop to INPUT.IMAGE_SIZE."""
    settings = cfg.INPUT
    side = settings.IMAGE_SIZE
    resize = T.ResizeScale(settings.MIN_SCALE, settings.MAX_SCALE, side, side)
    return [*_flip(cfg), resize, T.RandomCrop("absolute", (side, side)), *_color(cfg)]


def _flip(cfg: CfgNode) -> list[T.Augmentation]:
    direction = cfg.INPUT.RANDOM_FLIP
    if direction == "none":
        return []
    return [T.RandomFlip(horizontal=direction == "horizontal", vertical=direction == "vertical")]


def _color(cfg: CfgNode) -> list[T.Augmentation]:
    return [ColorJitter()] if cfg.INPUT.COLOR_AUG_SSD else []


class ColorJitter(T.Augmentation):
    """SSD's photometric distortion (Liu et al. 2016): brightness ±32, contrast and saturation ×0.5 to 1.5, hue ±36°.

    Each is applied with probability 1/2; contrast comes before or after the other two.
    """

    def get_transform(self, image: np.ndarray) -> T.Transform:
        on = np.random.rand(5) < 0.5
        brightness, hue = np.random.uniform(-32, 32), np.random.uniform(-0.1, 0.1)
        contrast, saturation = np.random.uniform(0.5, 1.5, 2)
        return T.ColorTransform(
            partial(
                jitter_color,
                brightness=brightness * on[0],
                contrast=contrast if on[1] else 1.0,
                saturation=saturation if on[2] else 1.0,
                hue=hue * on[3],
                contrast_last=bool(on[4]),
            )
        )


def jitter_color(
    image: np.ndarray, *, brightness: float, contrast: float, saturation: float, hue: float, contrast_last: bool
) -> np.ndarray:
    """Distort colours.

    Args:
        image: (H, W, 3) uint8 RGB.
        brightness: added to every channel. contrast: factor of every channel. saturation: factor of HSV's S.
        hue: added to HSV's H, as part of the circle.
        contrast_last: apply contrast after saturation and hue.
    Returns:
        (H, W, 3) uint8 RGB.
    """
    image = np.clip((image + brightness) * (1.0 if contrast_last else contrast), 0, 255).astype(np.uint8)
    if saturation != 1.0 or hue != 0.0:
        h, s, v = np.moveaxis(np.asarray(Image.fromarray(image).convert("HSV")), -1, 0)
        h = np.mod(h + round(hue * 256), 256).astype(np.uint8)
        s = np.clip(s * saturation, 0, 255).astype(np.uint8)
        image = np.asarray(Image.fromarray(np.stack((h, s, v), -1), "HSV").convert("RGB"))
    return np.clip(image * contrast, 0, 255).astype(np.uint8) if contrast_last else image


def _to_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) -> (3, H, W), contiguous."""
    return torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C"))


def _number_segments(ids: np.ndarray, segments: Sequence[dict]) -> np.ndarray:
    """(H, W) segment ids -> 0 for pixels of no listed segment, i + 1 for ``segments[i]``."""
    listed = np.array([s["id"] for s in segments], dtype=ids.dtype)
    order = np.argsort(listed)
    place = np.searchsorted(listed, ids, sorter=order).clip(max=max(len(listed) - 1, 0))
    if not len(listed):
        return np.zeros(ids.shape, np.int64)
    index = order[place]
    return np.where(listed[index] == ids, index + 1, 0)


def _category_map(numbers: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(H, W) uint8, a number for each class of this image, 255 = void: for crops that limit a class's area."""
    _, of_segment = np.unique(classes, return_inverse=True)
    return np.concatenate(([_VOID_CATEGORY], of_segment)).astype(np.uint8)[numbers]


def _pack(numbers: np.ndarray) -> np.ndarray:
    """(H, W) in 0 .. 65535 -> (H, W, 3) uint8, which every transform resizes by Pillow, at the same grid as the image."""
    return np.stack((numbers & 255, numbers >> 8, np.zeros_like(numbers)), -1).astype(np.uint8)


def _unpack(packed: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_pack`."""
    return packed[..., 0].astype(np.int64) | packed[..., 1].astype(np.int64) << 8
