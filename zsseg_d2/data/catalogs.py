"""Entries of Detectron2's catalogs: complete, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from detectron2.data import DatasetCatalog, MetadataCatalog

from .errors import DatasetError


def add_to_catalogs(name: str, load: Callable[[], Sequence[dict]], metadata: Mapping[str, object]) -> None:
    """Register a dataset with its metadata.

    Registering the same dataset again is allowed, as a notebook does when a cell is run again: the functions of the
    last call are used.

    Args:
        name: for ``DATASETS.TRAIN`` / ``DATASETS.TEST``.
        load: returns the records.
        metadata: entries of the metadata; functions among them do not tell datasets apart.

    Raises:
        DatasetError: another dataset has the name.
    """
    if name in DatasetCatalog.list():
        known = {key: value for key, value in vars(MetadataCatalog.get(name)).items() if key != "name"}
        keys = [k for k in {**known, **metadata} if not callable(known.get(k)) or not callable(metadata.get(k))]
        different = [k for k in keys if known.get(k) != metadata.get(k)]
        if different:
            raise DatasetError(
                f"A dataset {name!r} is registered already, with other entries {', '.join(different)}. Fix: choose "
                f"another name, or first call detectron2.data.DatasetCatalog.remove({name!r})."
            )
    remove_from_catalogs([name])  # also metadata that a removed dataset has left behind
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(**metadata)


def remove_from_catalogs(names: Iterable[str]) -> None:
    """Remove datasets and their metadata; unknown names are ignored."""
    for name in names:
        for catalog in (DatasetCatalog, MetadataCatalog):
            if name in catalog.list():
                catalog.remove(name)
