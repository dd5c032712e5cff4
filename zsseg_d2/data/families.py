"""Registration of panoptic dataset families, those of this package and those of others."""

from __future__ import annotations

from detectron2.data import DatasetCatalog

from .errors import DatasetError
from .panoptic.cityscapes import CITYSCAPES, MINICITY
from .panoptic.coco import COCO, MINIWORLD
from .panoptic.family import PANOPTIC_FAMILIES, PanopticFamily
from .pseudo_labels.dataset import pseudo_label_sets, register_legacy_names, register_pseudo_labels


def register_panoptic_family(family: PanopticFamily) -> PanopticFamily:
    """Register all datasets of a family. Reads no files; they are read when records are loaded.

    The registered names are ``{prefix}_{split}``, ``{prefix}_train_{configuration}`` and, for configurations that
    delete a class, ``{prefix}_train_pseudo_labels_{configuration}``. ``docs/extending.md`` has an example.

    Args:
        family: the description of the datasets.

    Returns:
        `family`.

    Raises:
        DatasetError: the prefix or a name is taken.
    """
    datasets = family.datasets()
    taken = {*datasets, *pseudo_label_sets(family)} & set(DatasetCatalog.list())
    if family.prefix in PANOPTIC_FAMILIES or taken:
        what = f"dataset {min(taken)!r}" if taken else f"panoptic family {family.prefix!r}"
        raise DatasetError(f"A {what} is registered already. Fix: choose another prefix.")
    for name, (split, deleted) in datasets.items():
        family.register(name, split, deleted)
    register_pseudo_labels(family)
    PANOPTIC_FAMILIES[family.prefix] = family
    return family


def register_builtin_families() -> None:
    """Register Cityscapes, MiniCity, COCO and MiniWorld."""
    for family in (CITYSCAPES, MINICITY, COCO, MINIWORLD):
        register_panoptic_family(family)
    for family in (CITYSCAPES, MINICITY):
        register_legacy_names(family)
