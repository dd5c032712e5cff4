"""Class deletion: which labels are taken away, and what is left of a record. Pure functions; no files.

A deleted segment leaves ``segments_info``; pixels whose id is not listed there are void to every consumer. Deletion is
for training: evaluation always uses the complete annotation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ..panoptic.records import DatasetError, PanopticCategory

CONFIGURATIONS: dict[str, tuple[int, ...]] = {f"{n:03d}": (24, 25, 26, 27, 28, 31, 32, 33)[:n] for n in range(9)}
"""Deleted Cityscapes label ids of configurations 000 (none) to 008 (all things)."""


def configuration(name: str) -> tuple[int, ...]:
    """The label ids that configuration `name` deletes.

    Raises:
        DatasetError: there is no such configuration.
    """
    if name not in CONFIGURATIONS:
        raise DatasetError(f"There is no configuration {name!r}; choose one of {', '.join(CONFIGURATIONS)}.")
    return CONFIGURATIONS[name]


def chosen_configurations(names: Iterable[str]) -> tuple[str, ...]:
    """Configurations, in their order and each once.

    Args:
        names: ``"008"``, a range ``"002-005"`` (both ends included), or ``"all"``.
    Raises:
        DatasetError: there is no such configuration, or a range goes backwards.
    """
    known, found = list(CONFIGURATIONS), set()
    for name in names:
        if name == "all":
            found.update(known)
            continue
        first, _, last = name.partition("-")
        for end in (first, last or first):
            configuration(end)
        part = known[known.index(first) : known.index(last or first) + 1]
        if not part or name.endswith("-"):
            raise DatasetError(f"{name!r} is no range of configurations; write the smaller first, as in 002-005.")
        found.update(part)
    return tuple(name for name in known if name in found)


def resolve_classes(
    classes: str | Iterable[str | int], categories: Sequence[PanopticCategory], *, train_ids: bool = False
) -> tuple[int, ...]:
    """Label ids, in the order of `categories` and each once.

    Args:
        classes: names (``"traffic light"`` or ``"traffic_light"``) and label ids (``26`` or ``"26"``), mixed; or one
            string, the name of a configuration.
        categories: (K,) the classes of the data set.
        train_ids: numbers are train ids (0 .. K-1) instead of label ids.
    Raises:
        DatasetError: an unknown configuration, name or id.
    """
    if isinstance(classes, str):
        classes = configuration(classes)
    by_name = {c.name.lower(): c.id for c in categories}
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
            hint = " (a configuration is given alone, not in a list)" if text in CONFIGURATIONS else ""
            kind = "train id" if train_ids else "label id"
            raise DatasetError(
                f"There is no class {item!r}{hint}; choose by name or {kind} among "
                + ", ".join(f"{n} {c.name}" for n, c in zip(by_number, categories))
                + "."
            )
    return tuple(c.id for c in categories if c.id in wanted)


def delete_from_record(record: dict, deleted: Collection[int]) -> dict:
    """The record without the segments, crowds included, of the contiguous ids in `deleted`; `record` stays as it is."""
    kept = [s for s in record["segments_info"] if s["category_id"] not in deleted]
    return {**record, "segments_info": kept}
