"""Cityscapes panoptic: the layout on disk, the 19 classes, the registrar. MiniCity has the same layout.

Under the root: ``leftImg8bit/{split}/{city}/{image_id}_leftImg8bit.png``, ``gtFine/cityscapes_panoptic_{split}.json``
and ``gtFine/cityscapes_panoptic_{split}/*.png`` (made by ``cityscapesscripts.preparation.createPanopticImgs``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...vocabulary import Vocabulary
from ..class_deletion.configurations import CONFIGURATIONS, delete_from_record, resolve_classes
from .records import DatasetError, PanopticCategory, data_folder, load_records, panoptic_metadata

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
"""A folder, or a function that names it (without touching it) each time records are loaded."""


def panoptic_paths(root: Path, split: str) -> dict[str, str]:
    """``image_root``, ``panoptic_root`` and ``panoptic_json`` of a split under `root`."""
    panoptic = root / "gtFine" / f"cityscapes_panoptic_{split}"
    return {
        "image_root": str(root / "leftImg8bit" / split),
        "panoptic_root": str(panoptic),
        "panoptic_json": f"{panoptic}.json",
    }


def load_cityscapes_panoptic(
    root: str | os.PathLike, split: str, deleted: Iterable[str | int] | str = ()
) -> list[dict]:
    """Records of a split, joined by image id, without the segments of the deleted classes.

    Args:
        root: the folder that holds ``leftImg8bit`` and ``gtFine``.
        split: ``"train"``, ``"val"`` or any other folder name.
        deleted: as in :func:`register_cityscapes_panoptic`.
    Returns:
        See :func:`zsseg_d2.data.panoptic.records.load_records`.
    Raises:
        DatasetError: a file or folder is missing, the JSON is wrong, or a class is unknown.
    """
    gone = _contiguous(resolve_classes(deleted, CATEGORIES))
    paths = {key: Path(value) for key, value in panoptic_paths(Path(root), split).items()}
    if not paths["image_root"].is_dir():
        raise DatasetError(
            f"There is no folder {paths['image_root']}; put the data set there, or set DETECTRON2_DATASETS to the "
            f"folder that holds '{Path(root).name}' (see datasets/README.md)."
        )
    images = {
        path.name.removesuffix(IMAGE_SUFFIX): path for path in sorted(paths["image_root"].glob(f"*/*{IMAGE_SUFFIX}"))
    }
    records = load_records(
        paths["panoptic_json"],
        paths["panoptic_root"],
        lambda image: images.get(str(image["id"]), paths["image_root"] / "*" / f"{image['id']}{IMAGE_SUFFIX}"),
        CATEGORIES,
        remedy=f"make them with `CITYSCAPES_DATASET={root} python -m cityscapesscripts.preparation.createPanopticImgs "
        f"--set-names {split}` (or `csCreatePanopticImgs`)",
    )
    return [delete_from_record(r, gone) for r in records] if gone else records


def register_cityscapes_panoptic(
    name: str,
    root: Root,
    split: str,
    *,
    deleted: Iterable[str | int] | str = (),
    prepare: Callable[[Path], object] | None = None,
) -> None:
    """Register a data set in Cityscapes layout. Reads nothing; files are read when records are loaded.

    ``register_cityscapes_panoptic("my_train", "datasets/cityscapes", "train", deleted=("person", 25))``

    Args:
        name: for ``DATASETS.TRAIN`` / ``DATASETS.TEST``.
        root: the folder that holds ``leftImg8bit`` and ``gtFine``, or a function that names it.
        split: ``"train"``, ``"val"`` or any other folder name.
        deleted: classes to delete, by name or label id, or the name of a configuration (``"008"``).
        prepare: called with the folder before records are loaded, to make or check the data set.
    Raises:
        DatasetError: an unknown class or configuration in `deleted`.
    """
    label_ids = resolve_classes(deleted, CATEGORIES)
    load = partial(_load_registered, name, root, split, prepare)
    DatasetCatalog.register(name, partial(load, label_ids))
    MetadataCatalog.get(name).set(
        **panoptic_metadata(CATEGORIES, Vocabulary.load("cityscapes"), label_ids),
        **panoptic_paths(_folder(root), split),
        # Out in the PQ table unless something else was deleted or is asked for: the classes of 008.
        out_contiguous_ids=tuple(sorted(_contiguous(CONFIGURATIONS["008"]))),
        load_complete_records=load,
    )


def _load_registered(
    name: str, root: Root, split: str, prepare: Callable[[Path], object] | None, deleted: tuple[int, ...] = ()
) -> list[dict]:
    folder = _folder(root)
    # DETECTRON2_DATASETS may have changed since the import; Metadata itself refuses a second value.
    vars(MetadataCatalog.get(name)).update(panoptic_paths(folder, split))
    if prepare is not None:
        prepare(folder)
    return load_cityscapes_panoptic(folder, split, deleted)


def _folder(root: Root) -> Path:
    return Path(root() if callable(root) else root).expanduser()


def _contiguous(label_ids: Iterable[int]) -> frozenset[int]:
    wanted = set(label_ids)
    return frozenset(k for k, c in enumerate(CATEGORIES) if c.id in wanted)


@dataclass(frozen=True)
class Family:
    """Data sets of one folder: ``{prefix}_train``, ``{prefix}_val``, ``{prefix}_train_000`` and so on."""

    prefix: str
    folder_name: str
    zero_shot_config: str  # the config that evaluates the zero-shot model on ``{prefix}_val``
    prepare: Callable[[Path], object] | None = None

    def folder(self) -> Path:
        """Where the files are looked up at this moment."""
        return data_folder(self.folder_name)

    def load(self, split: str, deleted: Iterable[str | int] | str = ()) -> list[dict]:
        """Records of a split, which is made first where that is possible (see :func:`load_cityscapes_panoptic`)."""
        if self.prepare is not None:
            self.prepare(self.folder())
        return load_cityscapes_panoptic(self.folder(), split, deleted)


def _make_minicity(folder: Path) -> None:
    from ..synthetic import ensure_minicity  # the renderer is imported by those who use it only

    ensure_minicity(folder.parent)


FAMILIES: tuple[Family, ...] = (
    Family("openvocab_cityscapes_fine_panoptic", "cityscapes", "configs/cityscapes/zero_shot_r50.yaml"),
    Family("minicity_panoptic", "minicity", "configs/minicity/zero_shot.yaml", _make_minicity),
)


def register_all_cityscapes() -> None:
    """Cityscapes and MiniCity: ``…_train``, ``…_val`` and ``…_train_000`` to ``…_train_008``."""
    for family in FAMILIES:
        for split in ("train", "val"):
            register_cityscapes_panoptic(f"{family.prefix}_{split}", family.folder, split, prepare=family.prepare)
        for name in CONFIGURATIONS:
            register_cityscapes_panoptic(
                f"{family.prefix}_train_{name}", family.folder, "train", deleted=name, prepare=family.prepare
            )
