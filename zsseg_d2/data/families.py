"""Registration of panoptic dataset families, those of this package and those of others."""

from __future__ import annotations

from .errors import DatasetError
from .panoptic.cityscapes import CITYSCAPES, MINICITY
from .panoptic.coco import COCO, MINIWORLD
from .panoptic.family import PANOPTIC_FAMILIES, PanopticFamily
from .pseudo_labels.dataset import register_legacy_names, register_pseudo_labels


def register_panoptic_family(family: PanopticFamily) -> PanopticFamily:
    """Register all datasets of a family. Reads no files; they are read when records are loaded.

    The registered names are ``{prefix}_{split}``, ``{prefix}_train_{configuration}`` and, for configurations that delete
    a class, ``{prefix}_train_pseudo_labels_{configuration}``. ``docs/extending.md`` has an example.

    Args:
        family: the description of the datasets.

    Returns:
        `family`.

    Raises:
        DatasetError: the prefix is taken.
    """
    if family.prefix in PANOPTIC_FAMILIES:
        raise DatasetError(f"A panoptic family {family.prefix!r} is registered already. Fix: choose another prefix.")
    family.register_splits()
    if "train" in family.splits:
        register_pseudo_labels(family)
    PANOPTIC_FAMILIES[family.prefix] = family
    return family


def register_builtin_families() -> None:
    """Register Cityscapes, MiniCity, COCO and MiniWorld."""
    for family in (CITYSCAPES, MINICITY, COCO, MINIWORLD):
        register_panoptic_family(family)
    for family in (CITYSCAPES, MINICITY):
        register_legacy_names(family)
