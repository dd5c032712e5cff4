"""Entries of Detectron2's catalogs for panoptic datasets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from detectron2.data import MetadataCatalog

from ...vocabulary import Vocabulary
from ..catalogs import add_to_catalogs
from ..errors import DatasetError
from .categories import PanopticCategory, contiguous_ids
from .deletion import delete_from_record


class PanopticPaths(NamedTuple):
    """Where the files of one split of a panoptic dataset are."""

    image_root: Path
    panoptic_root: Path
    panoptic_json: Path

    def as_metadata(self) -> dict[str, str]:
        """Return the paths as strings, under the names that Detectron2 uses."""
        return {key: str(path) for key, path in self._asdict().items()}


def check_vocabulary(vocabulary: Vocabulary, categories: Sequence[PanopticCategory]) -> None:
    """Check that vocabulary and categories have the same length.

    Raises:
        DatasetError: they differ in length.
    """
    if len(vocabulary) != len(categories):
        raise DatasetError(f"The vocabulary has {len(vocabulary)} classes, but the dataset has {len(categories)}.")


def panoptic_metadata(
    categories: Sequence[PanopticCategory], vocabulary: Vocabulary, deleted: Sequence[int] = ()
) -> dict:
    """Return the entries of Detectron2's ``MetadataCatalog`` for a panoptic dataset of K classes.

    Args:
        categories: (K,) in the order of contiguous ids.
        vocabulary: K classes in the same order.
        deleted: category ids whose segments are left out of the records.

    Raises:
        DatasetError: vocabulary and categories differ in length.
    """
    check_vocabulary(vocabulary, categories)
    names = list(vocabulary.names)
    colors = [c.color for c in categories]
    return {
        "vocabulary": vocabulary,
        # Detectron2's drawing and FC-CLIP's inference look up any class in either list, so both hold all K.
        "thing_classes": names,
        "stuff_classes": names,
        "category_names": [c.name for c in categories],
        "thing_colors": colors,
        "stuff_colors": colors,
        "thing_dataset_id_to_contiguous_id": {c.id: k for k, c in enumerate(categories) if c.isthing},
        "stuff_dataset_id_to_contiguous_id": {c.id: k for k, c in enumerate(categories)},
        "deleted_label_ids": tuple(deleted),
        "deleted_contiguous_ids": contiguous_ids(deleted, categories),
        "evaluator_type": "zsseg_panoptic",
        "ignore_label": 255,
        "label_divisor": 1000,
    }


def register_panoptic(
    name: str,
    paths: Callable[[], PanopticPaths],
    load: Callable[[], list[dict]],
    *,
    categories: Sequence[PanopticCategory],
    vocabulary: Vocabulary,
    deleted: Sequence[int] = (),
    prepare: Callable[[], object] | None = None,
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Register a panoptic dataset. Reads no files; they are read when records are loaded.

    Args:
        name: for ``DATASETS.TRAIN`` / ``DATASETS.TEST``.
        paths: returns where the files are, each time records are loaded.
        load: returns the complete records.
        categories: (K,) the classes.
        vocabulary: K classes in the same order.
        deleted: category ids whose segments are left out of the records.
        prepare: called before records are loaded, to make or check the dataset.
        metadata: further entries of the metadata, which override the usual ones.

    Raises:
        DatasetError: vocabulary and categories differ in length, or another dataset has the name; nothing is
            registered then.
    """
    complete = partial(_load, name, paths, load, prepare)
    entries = {
        **panoptic_metadata(categories, vocabulary, deleted),
        **paths().as_metadata(),
        "load_complete_records": complete,
        **(metadata or {}),
    }
    add_to_catalogs(name, partial(complete, frozenset(contiguous_ids(deleted, categories))), entries)


def _load(
    name: str,
    paths: Callable[[], PanopticPaths],
    load: Callable[[], list[dict]],
    prepare: Callable[[], object] | None,
    deleted: Collection[int] = (),
) -> list[dict]:
    # DETECTRON2_DATASETS may have changed since the import; Metadata itself refuses a second value.
    vars(MetadataCatalog.get(name)).update(paths().as_metadata())
    if prepare is not None:
        prepare()
    records = load()
    return [delete_from_record(r, deleted) for r in records] if deleted else records
