"""Class deletion: which labels are deleted, and what remains of a record. Pure functions that read no files.

A deleted segment leaves ``segments_info``; pixels whose id is not listed there are void to every consumer. Deletion is
for training: evaluation always uses the complete annotation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Integral

from ...class_names import find_class
from ..errors import DatasetError
from .categories import PanopticCategory

Configurations = Mapping[str, tuple[int, ...]]
"""Name of a configuration -> category ids of the deleted classes."""

CONFIGURATIONS: dict[str, tuple[int, ...]] = {f"{n:03d}": (24, 25, 26, 27, 28, 31, 32, 33)[:n] for n in range(9)}
"""Deleted Cityscapes label ids of configurations 000 (none) to 008 (all things)."""


def configuration(name: str, configurations: Configurations = CONFIGURATIONS) -> tuple[int, ...]:
    """Return the category ids that the configuration `name` deletes.

    Raises:
        DatasetError: there is no such configuration.
    """
    if name not in configurations:
        raise DatasetError(f"There is no configuration {name!r}; {_choice(configurations)}.")
    return configurations[name]


def resolve_classes(
    classes: str | int | Iterable[str | int],
    categories: Sequence[PanopticCategory],
    *,
    train_ids: bool = False,
    configurations: Configurations = CONFIGURATIONS,
) -> tuple[int, ...]:
    """Return the category ids of classes given by name or number, in the order of `categories` and each once.

    Args:
        classes: names and category ids, mixed, as :func:`zsseg_d2.class_names.find_class` reads them; or one string,
            the name of a configuration or of one class; or one category id.
        categories: (K,) the classes of the dataset.
        train_ids: numbers are train ids (0 to K - 1) instead of category ids.
        configurations: the configurations that a string can name.

    Raises:
        DatasetError: a configuration, name or id is unknown, or can mean several classes.
    """
    names = [[c.name] for c in categories]
    ids = list(range(len(categories))) if train_ids else [c.id for c in categories]
    kind = "train id" if train_ids else "label id"

    def one(item: object) -> int:
        try:
            return categories[find_class(item, names, ids, kind)].id
        except ValueError as error:
            hint = (
                " (A configuration is given alone, not in a list.)"
                if isinstance(item, str) and item in configurations
                else ""
            )
            raise DatasetError(f"{error}{hint}") from None

    if isinstance(classes, int | Integral):
        return (one(classes),)
    if not isinstance(classes, str):
        wanted = {one(item) for item in classes}
        return tuple(c.id for c in categories if c.id in wanted)
    of_name = {c.id for c in categories if c.name == classes}
    if classes in configurations:
        if of_name and of_name != set(configurations[classes]):
            raise DatasetError(
                f"{classes!r} is a configuration that deletes other classes than the one of that name. "
                f"Fix: write [{classes!r}] for the class, or rename the configuration."
            )
        return configurations[classes]
    try:
        return (one(classes),)
    except DatasetError as error:
        if not configurations:
            raise
        raise DatasetError(f"There is no configuration {classes!r}; {_choice(configurations)}. {error}") from None


def _choice(configurations: Configurations) -> str:
    return f"choose one of {', '.join(configurations)}" if configurations else "this dataset has none"


def delete_from_record(record: dict, deleted: Collection[int]) -> dict:
    """Return a record without the segments of deleted classes, crowds included; `record` stays as it is.

    Args:
        record: see :func:`zsseg_d2.data.panoptic.records.load_records`.
        deleted: contiguous ids of the deleted classes.
    """
    kept = [s for s in record["segments_info"] if s["category_id"] not in deleted]
    return {**record, "segments_info": kept}
