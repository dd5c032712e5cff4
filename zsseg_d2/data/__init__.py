"""Files -> records -> tensors. Importing this package registers the data sets; it reads none of them."""

from .class_deletion.configurations import CONFIGURATIONS, delete_from_record, resolve_classes
from .panoptic.cityscapes import load_cityscapes_panoptic, register_all_cityscapes, register_cityscapes_panoptic
from .panoptic.coco import load_coco_panoptic, register_all_coco, register_all_miniworld, register_coco_panoptic
from .panoptic.png import check_segments, read_panoptic_png, write_panoptic_png
from .panoptic.records import DatasetError, PanopticCategory
from .phrasecut.dataset import group_by_image, load_phrasecut, register_all_phrasecut, register_phrasecut
from .phrasecut.polygons import Polygons, polygons_to_mask
from .pseudo_labels.dataset import register_all_invocab

__all__ = [
    "CONFIGURATIONS",
    "DatasetError",
    "PanopticCategory",
    "Polygons",
    "check_segments",
    "delete_from_record",
    "group_by_image",
    "load_cityscapes_panoptic",
    "load_coco_panoptic",
    "load_phrasecut",
    "polygons_to_mask",
    "read_panoptic_png",
    "register_cityscapes_panoptic",
    "register_coco_panoptic",
    "register_phrasecut",
    "resolve_classes",
    "write_panoptic_png",
]

register_all_cityscapes()
register_all_invocab()
register_all_coco()
register_all_miniworld()
register_all_phrasecut()
