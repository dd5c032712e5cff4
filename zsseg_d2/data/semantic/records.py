"""Folders of images and label maps -> Detectron2 records."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ...reading import printable
from ..errors import DatasetError
from ..panoptic.categories import PanopticCategory

logger = logging.getLogger(__name__)


def load_semantic_records(
    image_root: Path,
    label_root: Path,
    categories: Sequence[PanopticCategory],
    ignore: Sequence[int],
    *,
    remedy: str,
) -> list[dict]:
    """Load the records of a semantic dataset, in the order of their names. Lists folders, but opens no file.

    An image and its label map have the same name without ending, and lie in the same subfolder, if in any.

    Args:
        image_root: folder of the images.
        label_root: folder of the label maps.
        categories: (K,) the classes; ``id`` is the value of a class in the label maps.
        ignore: values of pixels that belong to no class.
        remedy: what to do about a missing file, for messages.

    Returns:
        ``{file_name, image_id, sem_seg_file_name, ignore, segments_info}`` for each image; "segments_info" lists the
        segment that each class would be, ``{id (value + 1), category_id (0 to K - 1), iscrowd, isthing}``, and is
        shared by all records.

    Raises:
        DatasetError: a folder is missing or has no label map, a label map has no image, or two files one name.
    """
    images, labels = (_by_name(root, remedy) for root in (image_root, label_root))
    if not labels:
        raise DatasetError(f"There is no label map in {label_root}. Fix: {remedy}.")
    alone = next((name for name in labels if name not in images), None)
    if alone is not None:
        raise DatasetError(f"{labels[alone]}: there is no image of that name in {image_root}. Fix: {remedy}.")
    without = [name for name in images if name not in labels]
    if without:
        logger.warning(
            "%s: %d of %d images have no label map in %s and are left out, the first is %s.",
            printable(image_root),
            len(without),
            len(images),
            printable(label_root),
            printable(without[0]),
        )
    segments = [{"id": c.id + 1, "category_id": k, "iscrowd": 0, "isthing": False} for k, c in enumerate(categories)]
    return [
        {
            "file_name": str(images[name]),
            "image_id": name.replace("/", "_"),
            "sem_seg_file_name": str(path),
            "ignore": tuple(ignore),
            "segments_info": segments,
        }
        for name, path in labels.items()
    ]


def _by_name(root: Path, remedy: str) -> dict[str, Path]:
    """Return name without ending, with "/" between subfolders -> file, of all image files of a folder, sorted."""
    if not root.is_dir():
        raise DatasetError(f"There is no folder {root}. Fix: {remedy}.")
    known = Image.registered_extensions()
    found: dict[str, Path] = {}
    ids: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in known or path.name.startswith("."):
            continue
        name = path.relative_to(root).with_suffix("").as_posix()
        other = ids.setdefault(name.replace("/", "_"), path)
        if other != path:
            raise DatasetError(f"{path} and {other} have the same name. Fix: rename one of them, or move it away.")
        found[name] = path
    return found
