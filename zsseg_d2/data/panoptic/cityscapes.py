"""Cityscapes panoptic: the classes, loading and registration of folders of one's own. MiniCity has the same layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...vocabulary import Vocabulary
from ..dataset_files.packaged import packaged_family
from .categories import contiguous_ids
from .cityscapes_layout import CityscapesLayout
from .deletion import CONFIGURATIONS, delete_from_record, resolve_classes
from .registration import PanopticPaths, register_panoptic

CITYSCAPES = packaged_family("cityscapes")

CATEGORIES = CITYSCAPES.categories
"""The 19 evaluated classes in the order of train ids = contiguous ids (``cityscapesscripts.helpers.labels``)."""

Root = str | os.PathLike | Callable[[], Path]
"""A folder, or a function that returns it (without touching it) each time records are loaded."""


def load_cityscapes_panoptic(
    root: str | os.PathLike, split: str, deleted: str | int | Iterable[str | int] = ()
) -> list[dict]:
    """Load the records of a split, joined by image id, without the segments of the deleted classes.

    Args:
        root: the folder that holds ``leftImg8bit`` and ``gtFine``.
        split: ``"train"``, ``"val"`` or any other folder name.
        deleted: as in :func:`register_cityscapes_panoptic`.

    Returns:
        See :func:`zsseg_d2.data.panoptic.records.load_records`.

    Raises:
        DatasetError: a file or folder is missing, the JSON is wrong, or a class is unknown.
    """
    gone = contiguous_ids(resolve_classes(deleted, CATEGORIES), CATEGORIES)
    records = CityscapesLayout().load(Path(root), split, CATEGORIES)
    return [delete_from_record(r, gone) for r in records] if gone else records


def register_cityscapes_panoptic(
    name: str,
    root: Root,
    split: str,
    *,
    deleted: str | int | Iterable[str | int] = (),
    prepare: Callable[[Path], object] | None = None,
) -> None:
    """Register a dataset in Cityscapes layout. Reads no files; they are read when records are loaded.

    ``register_cityscapes_panoptic("my_train", "datasets/cityscapes", "train", deleted=("person", 25))``

    Args:
        name: for ``DATASETS.TRAIN`` / ``DATASETS.TEST``.
        root: the folder that holds ``leftImg8bit`` and ``gtFine``, or a function that returns it.
        split: ``"train"``, ``"val"`` or any other folder name.
        deleted: classes to delete, by name or label id, or the name of a configuration (``"008"``);
            one other string or number is one class.
        prepare: called with the folder before records are loaded, to make or check the dataset.

    Raises:
        DatasetError: `deleted` has an unknown class or configuration.
    """
    register_panoptic(
        name,
        partial(_paths, root, split),
        partial(_load, root, split),
        categories=CATEGORIES,
        vocabulary=Vocabulary.load("cityscapes"),
        deleted=resolve_classes(deleted, CATEGORIES),
        prepare=None if prepare is None else partial(_prepare, root, prepare),
        # Out in the PQ table unless something else was deleted or is asked for: the classes of 008.
        metadata={"out_contiguous_ids": contiguous_ids(CONFIGURATIONS["008"], CATEGORIES)},
    )


def _folder(root: Root) -> Path:
    return Path(root() if callable(root) else root).expanduser()


def _paths(root: Root, split: str) -> PanopticPaths:
    return CityscapesLayout().paths(_folder(root), split)


def _load(root: Root, split: str) -> list[dict]:
    return load_cityscapes_panoptic(_folder(root), split)


def _prepare(root: Root, prepare: Callable[[Path], object]) -> None:
    prepare(_folder(root))


def _make_minicity(folder: Path) -> None:
    from ..synthetic import ensure_minicity  # the renderer is imported only where it is used

    ensure_minicity(folder.parent)


MINICITY = replace(
    CITYSCAPES,
    prefix="minicity_panoptic",
    folder_name="minicity",
    zero_shot_config="configs/minicity/zero_shot.yaml",
    prepare=_make_minicity,
)


def _make_minicity_split(split: str, folder: Path) -> None:
    from ..synthetic import ensure_minicity_split

    ensure_minicity_split(folder.parent, split)


MINICITY_EXTRA = {
    split: replace(
        MINICITY, folder_name=f"minicity_{split}", splits=(split,), prepare=partial(_make_minicity_split, split)
    )
    for split in ("val_large", "test")
}
"""Splits of MiniCity in folders of their own, which are rendered when they are first used."""
