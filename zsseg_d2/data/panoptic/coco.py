"""Data sets in COCO panoptic format: the registrar, COCO itself, and MiniWorld."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import product
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES

from ...vocabulary import Vocabulary
from ..class_deletion.configurations import delete_from_record, resolve_classes
from .records import DatasetError, PanopticCategory, data_folder, load_records, panoptic_metadata, safe_join

Place = str | os.PathLike | Callable[[], Path]
"""A path, or a function that names it (without touching it) each time records are loaded."""


def register_coco_panoptic(
    name: str,
    image_root: Place,
    panoptic_root: Place,
    panoptic_json: Place,
    *,
    categories: Sequence[PanopticCategory],
    vocabulary: Vocabulary,
    deleted: Iterable[str | int] = (),
    prepare: Callable[[], object] | None = None,
) -> None:
    """Register a data set in COCO panoptic format. Reads nothing; files are read when records are loaded.

    Args:
        name: for ``DATASETS.TRAIN`` / ``DATASETS.TEST``.
        image_root: folder of the images.
        panoptic_root: folder of the panoptic PNGs.
        panoptic_json: the annotations.
        categories: (K,) as in the JSON; their order gives the contiguous ids.
        vocabulary: K classes in that order.
        deleted: classes to delete, by name or category id.
        prepare: called before records are loaded, to make or check the data set.
    Raises:
        DatasetError: an unknown class in `deleted`, or a vocabulary of another length.
    """
    category_ids = resolve_classes(tuple(deleted), categories)
    places = {"image_root": image_root, "panoptic_root": panoptic_root, "panoptic_json": panoptic_json}
    load = partial(_load_registered, name, places, tuple(categories), prepare)
    DatasetCatalog.register(name, partial(load, category_ids))
    MetadataCatalog.get(name).set(
        **panoptic_metadata(categories, vocabulary, category_ids), **_paths(places), load_complete_records=load
    )


def load_coco_panoptic(
    image_root: Path, panoptic_root: Path, panoptic_json: Path, categories: Sequence[PanopticCategory]
) -> list[dict]:
    """Records of a data set in COCO panoptic format, joined by image id.

    Returns:
        See :func:`zsseg_d2.data.panoptic.records.load_records`.
    Raises:
        DatasetError: a file or folder is missing, or the JSON is wrong.
    """
    if not image_root.is_dir():
        raise DatasetError(
            f"There is no folder {image_root}; put the data set there, or set DETECTRON2_DATASETS (datasets/README.md)."
        )
    return load_records(
        panoptic_json,
        panoptic_root,
        lambda image: safe_join(image_root, image.get("file_name"), panoptic_json),
        categories,
        remedy="get or make the panoptic annotations as datasets/README.md says",
    )


def _paths(places: dict[str, Place]) -> dict[str, str]:
    return {key: str(Path(place() if callable(place) else place).expanduser()) for key, place in places.items()}


def _load_registered(
    name: str,
    places: dict[str, Place],
    categories: tuple[PanopticCategory, ...],
    prepare: Callable[[], object] | None,
    deleted: tuple[int, ...] = (),
) -> list[dict]:
    paths = _paths(places)
    # DETECTRON2_DATASETS may have changed since the import; Metadata itself refuses a second value.
    vars(MetadataCatalog.get(name)).update(paths)
    if prepare is not None:
        prepare()
    records = load_coco_panoptic(*(Path(p) for p in paths.values()), categories)
    gone = {k for k, c in enumerate(categories) if c.id in set(deleted)}
    return [delete_from_record(r, gone) for r in records] if gone else records


def register_all_coco() -> None:
    """``openvocab_coco_2017_{train,val}_panoptic``, and under the longer names that FC-CLIP's YAML files use.

    The packaged vocabulary follows the order of COCO's categories.
    """
    categories = tuple(
        PanopticCategory(c["id"], c["name"], bool(c["isthing"]), tuple(c["color"])) for c in COCO_CATEGORIES
    )
    vocabulary = Vocabulary.load("coco_panoptic")
    for split, suffix in product(("train", "val"), ("", "_with_sem_seg")):
        register_coco_panoptic(
            f"openvocab_coco_2017_{split}_panoptic{suffix}",
            partial(data_folder, f"coco/{split}2017"),
            partial(data_folder, f"coco/panoptic_{split}2017"),
            partial(data_folder, f"coco/annotations/panoptic_{split}2017.json"),
            categories=categories,
            vocabulary=vocabulary,
        )


def register_all_miniworld() -> None:
    """``miniworld_panoptic_{train,val}``, whose classes are those of the renderer's pre-training world."""
    from ..synthetic.worlds import PRETRAINING

    colors = distinct_colors(len(PRETRAINING.categories))
    categories = tuple(
        PanopticCategory(c.id, c.name, c.isthing, color) for c, color in zip(PRETRAINING.categories, colors)
    )
    for split in ("train", "val"):
        register_coco_panoptic(
            f"miniworld_panoptic_{split}",
            partial(data_folder, f"miniworld/images/{split}"),
            partial(data_folder, f"miniworld/panoptic_{split}"),
            partial(data_folder, f"miniworld/panoptic_{split}.json"),
            categories=categories,
            vocabulary=Vocabulary(tuple(c.synonyms for c in PRETRAINING.categories)),
            prepare=_make_miniworld,
        )


def _make_miniworld() -> None:
    from ..synthetic import ensure_miniworld

    ensure_miniworld(data_folder())


def distinct_colors(count: int) -> list[tuple[int, int, int]]:
    """`count` RGB colours that differ: hues by the golden ratio, in three shades."""
    return [
        tuple(
            round(255 * x)
            for x in colorsys.hsv_to_rgb(k * 0.618034 % 1, (0.85, 0.55, 0.7)[k % 3], (0.9, 0.95, 0.6)[k % 3])
        )
        for k in range(count)
    ]
