"""Files -> records -> tensors. Importing this package registers the datasets, but reads none of them."""

from .composites.dataset import register_composites, register_embedded_composites
from .dataset_files.family import family_from_file
from .dataset_files.registration import register_dataset_file
from .errors import DatasetError
from .families import register_builtin_families, register_panoptic_family, unregister_panoptic_family
from .panoptic.categories import PanopticCategory
from .panoptic.cityscapes import load_cityscapes_panoptic, register_cityscapes_panoptic
from .panoptic.cityscapes_layout import CityscapesLayout
from .panoptic.coco import CocoLayout, load_coco_panoptic, register_coco_panoptic
from .panoptic.deletion import CONFIGURATIONS, delete_from_record, resolve_classes
from .panoptic.family import PANOPTIC_FAMILIES, PanopticFamily, PanopticLayout, family_of
from .panoptic.png import check_segments, read_panoptic_png, write_panoptic_png
from .panoptic.registration import PanopticPaths
from .phrasecut.dataset import group_by_image, load_phrasecut, register_all_phrasecut, register_phrasecut
from .phrasecut.polygons import Polygons, polygons_to_mask

__all__ = [
    "CONFIGURATIONS",
    "PANOPTIC_FAMILIES",
    "CityscapesLayout",
    "CocoLayout",
    "DatasetError",
    "PanopticCategory",
    "PanopticFamily",
    "PanopticLayout",
    "PanopticPaths",
    "Polygons",
    "check_segments",
    "delete_from_record",
    "family_from_file",
    "family_of",
    "group_by_image",
    "load_cityscapes_panoptic",
    "load_coco_panoptic",
    "load_phrasecut",
    "polygons_to_mask",
    "read_panoptic_png",
    "register_cityscapes_panoptic",
    "register_coco_panoptic",
    "register_composites",
    "register_dataset_file",
    "register_panoptic_family",
    "register_phrasecut",
    "resolve_classes",
    "unregister_panoptic_family",
    "write_panoptic_png",
]

register_builtin_families()
register_all_phrasecut()
register_embedded_composites()
