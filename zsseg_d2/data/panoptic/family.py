"""Families of panoptic datasets: one description from which all registered names of a dataset follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from ...vocabulary import Vocabulary
from ..errors import DatasetError
from ..paths import data_folder
from .categories import PanopticCategory, contiguous_ids
from .deletion import configuration, delete_from_record, resolve_classes
from .registration import PanopticPaths, check_vocabulary, register_panoptic

MAX_CATEGORY_ID = 16_000
"""Segment ids of pseudo-labels are 1000 · category id + k, and must fit into the 24 bits of a panoptic PNG."""


SEMANTIC = "zsseg_semantic"
"""``evaluator_type`` of datasets of label maps."""


class PanopticLayout(Protocol):
    """How the files of a panoptic dataset are arranged under its folder."""

    def paths(self, root: Path, split: str) -> PanopticPaths:
        """Return where the files of `split` are, all of them under `root`, whether they exist or not."""
        ...

    def load(self, root: Path, split: str, categories: Sequence[PanopticCategory]) -> list[dict]:
        """Return the complete records of `split` (see :func:`zsseg_d2.data.panoptic.records.load_records`).

        Raises:
            DatasetError: a file is missing or damaged.
        """
        ...


@dataclass(frozen=True)
class PanopticFamily:
    """A panoptic dataset with its splits, class-deleted training sets and pseudo-labels.

    Registered by :func:`zsseg_d2.data.register_panoptic_family` under ``{prefix}_{split}``,
    ``{prefix}_train_{configuration}`` and ``{prefix}_train_pseudo_labels_{configuration}``.

    Args:
        prefix: start of every registered name.
        folder_name: the dataset's folder under ``$DETECTRON2_DATASETS``, or an absolute path.
        categories: (K,) the classes; their order gives the contiguous ids.
        layout: how the files are arranged, such as :class:`zsseg_d2.data.CocoLayout` or
            :class:`zsseg_d2.data.CityscapesLayout`.
        vocabulary: K classes in the same order: the names and synonyms that CLIP reads.
        configurations: named sets of classes to delete, by name or category id.
        out_configuration: the configuration whose classes the PQ table reports as Out unless others were deleted.
        out_classes: these classes, by name or category id, if there is no such configuration.
        semantic: the annotations are label maps, so that every class is stuff, and mIoU is its measure.
        zero_shot_config: config that evaluates the zero-shot model on ``{prefix}_val``, for messages.
        prepare: called with the folder before records are loaded, to make or check the dataset.
        splits: registered splits.
        aliases: further names of each split, such as ``"my_{split}_panoptic"``.

    Raises:
        DatasetError: the classes are not distinct, their number is not that of the vocabulary, or a configuration names
            an unknown class.
    """

    prefix: str
    folder_name: str
    categories: tuple[PanopticCategory, ...]
    layout: PanopticLayout
    vocabulary: Vocabulary
    configurations: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    out_configuration: str | None = None
    zero_shot_config: str | None = None
    prepare: Callable[[Path], object] | None = None
    splits: tuple[str, ...] = ("train", "val")
    aliases: tuple[str, ...] = ()
    out_classes: tuple[str | int, ...] = ()
    semantic: bool = False

    def __post_init__(self) -> None:
        for key in ("id", "name"):
            values = [getattr(c, key) for c in self.categories]
            if len(set(values)) < len(values):
                raise DatasetError(f"{self.prefix}: two categories have the same {key}.")
        outside = [c.id for c in self.categories if not 0 <= c.id <= MAX_CATEGORY_ID]
        if outside:
            raise DatasetError(f"{self.prefix}: category id {outside[0]} is not in [0, {MAX_CATEGORY_ID}].")
        resolved = {
            name: resolve_classes(tuple(classes), self.categories) for name, classes in self.configurations.items()
        }
        check_vocabulary(self.vocabulary, self.categories)
        object.__setattr__(self, "categories", tuple(self.categories))
        object.__setattr__(self, "configurations", resolved)
        if self.out_configuration is not None:
            self.deleted_label_ids(self.out_configuration)
            if self.out_classes:
                raise DatasetError(f"{self.prefix}: out_configuration and out_classes are both given. Fix: give one.")
        out = resolve_classes(tuple(self.out_classes), self.categories, configurations=self.configurations)
        object.__setattr__(self, "out_classes", out)

    def folder(self) -> Path:
        """Return the folder of the dataset, as ``$DETECTRON2_DATASETS`` says at this moment."""
        return data_folder(self.folder_name)

    def paths(self, split: str) -> PanopticPaths:
        """Return where the files of `split` are."""
        return self.layout.paths(self.folder(), split)

    def owns(self, name: str) -> bool:
        """Return whether a registered name belongs to this family."""
        aliases = {alias.format(split=split) for alias in self.aliases for split in self.splits}
        return name.startswith(f"{self.prefix}_") or name in aliases

    def deleted_label_ids(self, name: str) -> tuple[int, ...]:
        """Return the category ids that the configuration `name` deletes.

        Raises:
            DatasetError: there is no such configuration.
        """
        return configuration(name, self.configurations)

    def deleted_ids(self, name: str) -> tuple[int, ...]:
        """Return the contiguous ids that the configuration `name` deletes, at least one.

        Raises:
            DatasetError: there is no such configuration, or it deletes nothing.
        """
        label_ids = self.deleted_label_ids(name)
        if not label_ids:
            raise DatasetError(f"Configuration {name} deletes no class, so there is nothing to label; choose another.")
        return contiguous_ids(label_ids, self.categories)

    def load(self, split: str, deleted: str | int | Iterable[str | int] = ()) -> list[dict]:
        """Load the records of a split, which is made first where that is possible.

        Args:
            split: a split of the dataset, registered or not.
            deleted: classes to delete, by name or category id, or the name of a configuration; one other string or
                number is one class.

        Raises:
            DatasetError: a file is missing or damaged, or a class is unknown.
        """
        label_ids = resolve_classes(deleted, self.categories, configurations=self.configurations)
        gone = contiguous_ids(label_ids, self.categories)
        self._prepare()
        records = self.layout.load(self.folder(), split, self.categories)
        return [delete_from_record(r, gone) for r in records] if gone else records

    def register(self, name: str, split: str, deleted: str | int | Iterable[str | int] = ()) -> None:
        """Register a split under a name of your choice, with classes of your choice deleted.

        Args:
            name: for ``DATASETS.TRAIN`` / ``DATASETS.TEST``.
            split: a split of the dataset.
            deleted: as in :meth:`load`.

        Raises:
            DatasetError: a class is unknown.
        """
        register_panoptic(
            name,
            partial(self.paths, split),
            partial(self.load, split),
            categories=self.categories,
            vocabulary=self.vocabulary,
            deleted=resolve_classes(deleted, self.categories, configurations=self.configurations),
            metadata={**self.out_metadata(), **self.semantic_metadata()},
        )

    def datasets(self) -> dict[str, tuple[str, str | tuple[str, ...]]]:
        """Return registered name -> (split, deleted classes) of every split, and of every configuration of "train"."""
        found: dict[str, tuple[str, str | tuple[str, ...]]] = {}
        for split in self.splits:
            for name in (f"{self.prefix}_{split}", *(alias.format(split=split) for alias in self.aliases)):
                found[name] = split, ()
        if "train" in self.splits:
            found |= {f"{self.prefix}_train_{name}": ("train", name) for name in self.configurations}
        return found

    def out_metadata(self) -> dict[str, tuple[int, ...]]:
        """Return the metadata entry that names the Out classes of the PQ table, if the family has such classes."""
        label_ids = self.deleted_label_ids(self.out_configuration) if self.out_configuration else self.out_classes
        if not label_ids:
            return {}
        return {"out_contiguous_ids": contiguous_ids([int(i) for i in label_ids], self.categories)}

    def require_panoptic(self, what: str) -> None:
        """Check that there are panoptic annotations, which `what` needs.

        Raises:
            DatasetError: the dataset is a semantic one.
        """
        if self.semantic:
            raise DatasetError(f"{self.prefix}: has label maps, but {what} need panoptic annotations. Fix: give those.")

    def semantic_metadata(self) -> dict[str, object]:
        """Return the metadata of label maps in which a semantic dataset differs from a panoptic one."""
        if not self.semantic:
            return {}
        return {"evaluator_type": SEMANTIC, "ignore_label": getattr(self.layout, "ignore", (255,))[0]}

    def _prepare(self) -> None:
        if self.prepare is not None:
            self.prepare(self.folder())


PANOPTIC_FAMILIES: dict[str, PanopticFamily] = {}
"""Registered families by prefix; filled by :func:`zsseg_d2.data.register_panoptic_family`."""


def family_of(names: str | Iterable[str]) -> PanopticFamily:
    """Return the family of a registered name, or of the first of several names that belongs to one.

    Raises:
        DatasetError: none belongs to a family.
    """
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        owners = [family for family in PANOPTIC_FAMILIES.values() if family.owns(name)]
        if owners:
            return max(owners, key=lambda family: len(family.prefix))
    raise DatasetError(
        f"{', '.join(names) or 'No dataset'}: not of a panoptic family. Fix: use a dataset whose name starts with "
        f"{' or '.join(PANOPTIC_FAMILIES)}, or register a family (zsseg_d2.data.register_panoptic_family)."
    )
