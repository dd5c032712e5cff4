"""What streaming evaluators share: results per item, gathered from all processes, complete or refused."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import detectron2
import torch

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class EvaluationError(ValueError):
    """Predictions do not fit the dataset; the message names the image or task."""


def first_of_each(parts: Iterable[Mapping[Key, Value]]) -> dict[Key, Value]:
    """Merge the results of several processes; if several have an item, the first one counts.

    >>> first_of_each([{"a": 1}, {"a": 2, "b": 3}])
    {'a': 1, 'b': 3}
    """
    merged: dict[Key, Value] = {}
    for part in parts:
        for key, value in part.items():
            merged.setdefault(key, value)
    return merged


def find_record(records: Mapping[Key, Value], key: Key, kind: str, dataset: str) -> Value:
    """Return the record of an item.

    Args:
        records: of the whole dataset.
        key: id of the item.
        kind: "image" or "task", for the message.
        dataset: name of the dataset, for the message.

    Raises:
        EvaluationError: there is no such record.
    """
    if key not in records:
        raise EvaluationError(
            f"{kind.capitalize()} {key!r} is not in the dataset '{dataset}'. Fix: evaluate with that dataset's loader."
        )
    return records[key]


def check_complete(evaluated: Mapping, records: Mapping, kind: str, dataset: str) -> None:
    """Check that every item of a dataset was evaluated; arguments as in :func:`find_record`.

    Raises:
        EvaluationError: nothing was evaluated, or items have no prediction.
    """
    missing: Sequence = [key for key in records if key not in evaluated]
    if not missing:
        return
    if not evaluated:
        raise EvaluationError(f"No {kind} of '{dataset}' was evaluated. Fix: call process before evaluate.")
    some = ", ".join(map(repr, missing[:3])) + (", …" if len(missing) > 3 else "")
    raise EvaluationError(
        f"{len(missing)} of {len(records)} {kind}s of '{dataset}' have no prediction ({some}), but the scores need all "
        "of them. Fix: evaluate the whole dataset, or register the subset as its own dataset."
    )


def versions() -> dict[str, str]:
    """Return the versions of the software that decides the scores, for reports."""
    from .. import __version__

    return {"zsseg_d2": __version__, "detectron2": detectron2.__version__, "torch": torch.__version__}
