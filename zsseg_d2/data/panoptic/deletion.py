"""Class deletion: which labels are deleted, and what remains of a record. Pure functions that read no files.

A deleted segment leaves ``segments_info``; pixels whose id is not listed there are void to every consumer. Deletion is
for training: evaluation always uses the complete annotation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

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
        choice = f"choose one of {', '.join(configurations)}" if configurations else "this dataset has none"
        raise DatasetError(f"There is no configuration {name!r}; {choice}.")
    return configurations[name]


def resolve_classes(
    classes: str | Iterable[str | int],
    categories: Sequence[PanopticCategory],
    *,
    train_ids: bool = False,
    configurations: Configurations = CONFIGURATIONS,
) -> tuple[int, ...]:
    """Return the category ids of classes given by name or number, in the order of `categories` and each once.

    Args:
        classes: names (``"traffic light"`` or ``"traffic_light"``) and category ids (``26`` or ``"26"``), mixed; or one
            string, the name of a configuration.
        categories: (K,) the classes of the dataset.
        train_ids: numbers are train ids (0 to K - 1) instead of category ids.
        configurations: the configurations that a string can name.

    Raises:
        DatasetError: a configuration, name or id is unknown.
    """
    if isinstance(classes, str):
        classes = configuration(classes, configurations)
    by_name = {c.name.lower().replace("_", " "): c.id for c in categories}
    by_number = {k if train_ids else c.id: c.id for k, c in enumerate(categories)}
    wanted = set()
    for item in classes:
        text = str(item).strip().lower().replace("_", " ")
        number = int(text) if text.isdecimal() and str(int(text)) == text else None
        if text in by_name:
            wanted.add(by_name[text])
        elif number in by_number and not isinstance(item, bool):
            wanted.add(by_number[number])
        else:
            hint = " (give a configuration alone, not in a list)" if str(item) in configurations else ""
            kind = "train id" if train_ids else "label id"
            choices = ", ".join(f"{n} {c.name}" for n, c in zip(by_number, categories))
            raise DatasetError(f"There is no class {item!r}{hint}; choose by name or {kind}: {choices}.")
    return tuple(c.id for c in categories if c.id in wanted)


def delete_from_record(record: dict, deleted: Collection[int]) -> dict:
    """Return a record without the segments of deleted classes, crowds included; `record` stays as it is.

    Args:
        record: see :func:`zsseg_d2.data.panoptic.records.load_records`.
        deleted: contiguous ids of the deleted classes.
    """
    kept = [s for s in record["segments_info"] if s["category_id"] not in deleted]
    return {**record, "segments_info": kept}
