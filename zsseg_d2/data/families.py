"""Registration of panoptic dataset families, those of this package and those of others."""

from __future__ import annotations

from dataclasses import replace

from detectron2.data import DatasetCatalog

from .catalogs import remove_from_catalogs
from .dataset_files.packaged import packaged_family
from .errors import DatasetError
from .panoptic.cityscapes import CITYSCAPES, MINICITY, MINICITY_EXTRA
from .panoptic.coco import COCO, MINIWORLD
from .panoptic.family import PANOPTIC_FAMILIES, PanopticFamily, family_of
from .pseudo_labels.dataset import pseudo_label_sets, register_legacy_names, register_pseudo_labels


def register_panoptic_family(family: PanopticFamily) -> PanopticFamily:
    """Register all datasets of a family. Reads no files; they are read when records are loaded.

    The registered names are ``{prefix}_{split}``, ``{prefix}_train_{configuration}`` and, for configurations that
    delete a class, ``{prefix}_train_pseudo_labels_{configuration}``. ``docs/extending.md`` has an example. Registering
    the same family again is allowed, as a notebook does when a cell is run again.

    Args:
        family: the description of the datasets.

    Returns:
        `family`.

    Raises:
        DatasetError: the prefix or a name is taken; nothing is registered then.
    """
    known = PANOPTIC_FAMILIES.get(family.prefix)
    if known is not None and replace(known, prepare=family.prepare) != family:
        raise DatasetError(
            f"A panoptic family {family.prefix!r} is registered already, with another description. Fix: choose another "
            f"prefix, or first call zsseg_d2.data.unregister_panoptic_family({family.prefix!r})."
        )
    names = {*family.datasets(), *pseudo_label_sets(family)}
    taken = names & set(DatasetCatalog.list())
    if known is None and taken:
        raise DatasetError(f"A dataset {min(taken)!r} is registered already. Fix: choose another prefix.")
    remove_from_catalogs(taken)
    try:
        for name, (split, deleted) in family.datasets().items():
            family.register(name, split, deleted)
        register_pseudo_labels(family)
    except BaseException:
        remove_from_catalogs(names)
        raise
    PANOPTIC_FAMILIES[family.prefix] = family
    return family


def unregister_panoptic_family(prefix: str) -> None:
    """Remove a family and all datasets that belong to it, so that another one can have the prefix.

    Raises:
        DatasetError: there is no such family.
    """
    if prefix not in PANOPTIC_FAMILIES:
        known = ", ".join(PANOPTIC_FAMILIES)
        raise DatasetError(f"There is no panoptic family {prefix!r}. Fix: choose one of {known}.")
    family = PANOPTIC_FAMILIES[prefix]
    remove_from_catalogs([n for n in DatasetCatalog.list() if family.owns(n) and family_of(n) is family])
    del PANOPTIC_FAMILIES[prefix]


_PACKAGED = (
    "ade20k_panoptic",
    "mapillary_vistas",
    "ade20k_full",
    "pascal_context_59",
    "pascal_context_459",
    "pascal_voc_20",
    "pascal_voc_21",
)
"""Dataset files of the package that are registered, besides those of Cityscapes and COCO."""


def register_builtin_families() -> None:
    """Register Cityscapes, MiniCity, COCO, MiniWorld and the packaged dataset files."""
    for family in (
        CITYSCAPES,
        MINICITY,
        COCO,
        MINIWORLD,
        *map(packaged_family, _PACKAGED),
    ):
        register_panoptic_family(family)
    for split, family in MINICITY_EXTRA.items():
        family.register(f"{family.prefix}_{split}", split)
    for family in (CITYSCAPES, MINICITY):
        register_legacy_names(family)
