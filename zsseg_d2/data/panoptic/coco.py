"""Datasets in COCO panoptic format: the layout, the registration, COCO itself, and MiniWorld."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...vocabulary import Vocabulary
from ..dataset_files.packaged import packaged_family
from ..errors import DatasetError
from ..paths import is_relative_inside, safe_join
from .categories import PanopticCategory, distinct_colors
from .deletion import resolve_classes
from .family import PanopticFamily
from .records import load_records
from .registration import PanopticPaths, register_panoptic

Place = str | os.PathLike | Callable[[], Path]
"""A path, or a function that returns it (without touching it) each time records are loaded."""


@dataclass(frozen=True)
class CocoLayout:
    """Folders and file of a dataset in COCO panoptic format; implements :class:`zsseg_d2.data.PanopticLayout`.

    ``CocoLayout("{split}2017", "panoptic_{split}2017", "annotations/panoptic_{split}2017.json")`` is COCO's own.

    Args:
        image_root: folder of the images, relative to the dataset's folder; ``{split}`` is replaced.
        panoptic_root: folder of the panoptic PNGs, likewise.
        panoptic_json: the annotations, likewise.

    Raises:
        DatasetError: a path leads out of the dataset's folder.
    """

    image_root: str
    panoptic_root: str
    panoptic_json: str

    def __post_init__(self) -> None:
        for place in (self.image_root, self.panoptic_root, self.panoptic_json):
            if not is_relative_inside(place):
                raise DatasetError(f"CocoLayout: {place!r} must be relative to the dataset's folder, and inside it.")

    def paths(self, root: Path, split: str) -> PanopticPaths:
        """Return where the files of `split` are under `root`."""
        places = (self.image_root, self.panoptic_root, self.panoptic_json)
        return PanopticPaths(*(root / place.format(split=split) for place in places))

    def load(self, root: Path, split: str, categories: Sequence[PanopticCategory]) -> list[dict]:
        """Return the complete records of `split`.

        Raises:
            DatasetError: a file or folder is missing, or the JSON is wrong.
        """
        return load_coco_panoptic(*self.paths(root, split), categories)


def register_coco_panoptic(
    name: str,
    image_root: Place,
    panoptic_root: Place,
    panoptic_json: Place,
    *,
    categories: Sequence[PanopticCategory],
    vocabulary: Vocabulary,
    deleted: str | int | Iterable[str | int] = (),
    prepare: Callable[[], object] | None = None,
) -> None:
    """Register one dataset in COCO panoptic format. Reads no files; they are read when records are loaded.

    :class:`zsseg_d2.data.PanopticFamily` registers all splits of a dataset at once, with pseudo-labels.

    Args:
        name: for ``DATASETS.TRAIN`` / ``DATASETS.TEST``.
        image_root: folder of the images.
        panoptic_root: folder of the panoptic PNGs.
        panoptic_json: the annotations.
        categories: (K,) as in the JSON; their order gives the contiguous ids.
        vocabulary: K classes in that order.
        deleted: classes to delete, by name or category id; one string or number is one class.
        prepare: called before records are loaded, to make or check the dataset.

    Raises:
        DatasetError: `deleted` has an unknown class, or the vocabulary has another length.
    """
    places = (image_root, panoptic_root, panoptic_json)
    register_panoptic(
        name,
        partial(_paths, places),
        partial(_load, places, tuple(categories)),
        categories=categories,
        vocabulary=vocabulary,
        deleted=resolve_classes(deleted, categories, configurations={}),
        prepare=prepare,
    )


def load_coco_panoptic(
    image_root: Path, panoptic_root: Path, panoptic_json: Path, categories: Sequence[PanopticCategory]
) -> list[dict]:
    """Load the records of a dataset in COCO panoptic format, joined by image id.

    Args:
        image_root: folder of the images.
        panoptic_root: folder of the panoptic PNGs.
        panoptic_json: the annotations.
        categories: (K,) as in the JSON.

    Returns:
        See :func:`zsseg_d2.data.panoptic.records.load_records`.

    Raises:
        DatasetError: a file or folder is missing, or the JSON is wrong.
    """
    if not image_root.is_dir():
        raise DatasetError(
            f"There is no folder {image_root}; put the dataset there, or set DETECTRON2_DATASETS (datasets/README.md)."
        )
    return load_records(
        panoptic_json,
        panoptic_root,
        lambda image: safe_join(image_root, image.file_name, panoptic_json),
        categories,
        remedy="get or make the panoptic annotations as datasets/README.md says",
    )


def _paths(places: Sequence[Place]) -> PanopticPaths:
    return PanopticPaths(*(Path(place() if callable(place) else place).expanduser() for place in places))


def _load(places: Sequence[Place], categories: tuple[PanopticCategory, ...]) -> list[dict]:
    return load_coco_panoptic(*_paths(places), categories)


def _miniworld() -> PanopticFamily:
    """The packaged vocabulary follows the order of the renderer's categories: things first, ids from 1."""
    vocabulary, things = Vocabulary.load("miniworld"), 24
    categories = tuple(
        PanopticCategory(k + 1, name, k < things, color)
        for k, (name, color) in enumerate(zip(vocabulary.names, distinct_colors(len(vocabulary))))
    )
    return PanopticFamily(
        prefix="miniworld_panoptic",
        folder_name="miniworld",
        categories=categories,
        layout=CocoLayout("images/{split}", "panoptic_{split}", "panoptic_{split}.json"),
        vocabulary=vocabulary,
        configurations={"no_things": tuple(c.id for c in categories if c.isthing)},
        prepare=_make_miniworld,
    )


def _make_miniworld(folder: Path) -> None:
    from ..synthetic import ensure_miniworld  # the renderer is imported only where it is used

    ensure_miniworld(folder.parent)


COCO = packaged_family("coco_panoptic")
MINIWORLD = _miniworld()
