"""Cityscapes panoptic: the layout on disk, the 19 classes, the registration. MiniCity has the same layout.

Under the root: ``leftImg8bit/{split}/{city}/{image_id}_leftImg8bit.png``, ``gtFine/cityscapes_panoptic_{split}.json``
and ``gtFine/cityscapes_panoptic_{split}/*.png`` (made by ``cityscapesscripts.preparation.createPanopticImgs``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...vocabulary import Vocabulary
from ..errors import DatasetError
from .categories import PanopticCategory, contiguous_ids
from .deletion import CONFIGURATIONS, delete_from_record, resolve_classes
from .family import PanopticFamily
from .records import load_records
from .registration import PanopticPaths, register_panoptic

CATEGORIES: tuple[PanopticCategory, ...] = tuple(
    PanopticCategory(label_id, name, label_id >= 24, color)
    for label_id, name, color in (
        (7, "road", (128, 64, 128)),
        (8, "sidewalk", (244, 35, 232)),
        (11, "building", (70, 70, 70)),
        (12, "wall", (102, 102, 156)),
        (13, "fence", (190, 153, 153)),
        (17, "pole", (153, 153, 153)),
        (19, "traffic light", (250, 170, 30)),
        (20, "traffic sign", (220, 220, 0)),
        (21, "vegetation", (107, 142, 35)),
        (22, "terrain", (152, 251, 152)),
        (23, "sky", (70, 130, 180)),
        (24, "person", (220, 20, 60)),
        (25, "rider", (255, 0, 0)),
        (26, "car", (0, 0, 142)),
        (27, "truck", (0, 0, 70)),
        (28, "bus", (0, 60, 100)),
        (31, "train", (0, 80, 100)),
        (32, "motorcycle", (0, 0, 230)),
        (33, "bicycle", (119, 11, 32)),
    )
)
"""The evaluated classes in the order of train ids = contiguous ids (``cityscapesscripts.helpers.labels``)."""

IMAGE_SUFFIX = "_leftImg8bit.png"
Root = str | os.PathLike | Callable[[], Path]
"""A folder, or a function that returns it (without touching it) each time records are loaded."""


@dataclass(frozen=True)
class CityscapesLayout:
    """Cityscapes' folders; implements :class:`zsseg_d2.data.PanopticLayout`."""

    def paths(self, root: Path, split: str) -> PanopticPaths:
        """Return where the files of `split` are under `root`."""
        panoptic = root / "gtFine" / f"cityscapes_panoptic_{split}"
        return PanopticPaths(root / "leftImg8bit" / split, panoptic, panoptic.with_name(f"{panoptic.name}.json"))

    def load(self, root: Path, split: str, categories: Sequence[PanopticCategory]) -> list[dict]:
        """Return the complete records of `split`.

        Raises:
            DatasetError: a file or folder is missing, or the JSON is wrong.
        """
        image_root, panoptic_root, panoptic_json = self.paths(root, split)
        if not image_root.is_dir():
            raise DatasetError(
                f"There is no folder {image_root}; put the dataset there, or set DETECTRON2_DATASETS to the folder "
                f"that holds '{root.name}' (see datasets/README.md)."
            )
        images = {path.name.removesuffix(IMAGE_SUFFIX): path for path in sorted(image_root.glob(f"*/*{IMAGE_SUFFIX}"))}
        return load_records(
            panoptic_json,
            panoptic_root,
            lambda image: images.get(str(image.id), image_root / "*" / f"{image.id}{IMAGE_SUFFIX}"),
            categories,
            remedy=f"make them with `CITYSCAPES_DATASET={root} python -m "
            f"cityscapesscripts.preparation.createPanopticImgs --set-names {split}` (or `csCreatePanopticImgs`)",
        )


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


def _family(prefix: str, folder: str, config: str, prepare: Callable[[Path], object] | None = None) -> PanopticFamily:
    return PanopticFamily(
        prefix=prefix,
        folder_name=folder,
        categories=CATEGORIES,
        layout=CityscapesLayout(),
        vocabulary=Vocabulary.load("cityscapes"),
        configurations=CONFIGURATIONS,
        out_configuration="008",
        zero_shot_config=config,
        prepare=prepare,
    )


CITYSCAPES = _family("openvocab_cityscapes_fine_panoptic", "cityscapes", "configs/cityscapes/zero_shot.yaml")
MINICITY = _family("minicity_panoptic", "minicity", "configs/minicity/zero_shot.yaml", _make_minicity)
