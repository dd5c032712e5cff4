"""Which class a name or a number means."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from numbers import Integral


def folded(name: str) -> str:
    """Return `name` without differences of case, whitespace, underscores and Unicode form.

    Example:
        >>> folded("Traffic__Light ")
        'traffic light'
    """
    return " ".join(unicodedata.normalize("NFC", name).casefold().replace("_", " ").split())


def find_class(item: object, names: Sequence[Sequence[str]], ids: Sequence[int | None], kind: str = "label id") -> int:
    """Return the position of the class that `item` means.

    An integer is an id. A string is the exact name of a class, else the digits of an id, else a name that differs in
    case, whitespace or underscores, if only one class has such a name.

    Args:
        item: what the user wrote.
        names: (K,) one or several names of each class.
        ids: (K,) the id of each class; None if it has none.
        kind: what an id is called in messages.

    Returns:
        In [0, K - 1].

    Raises:
        ValueError: no class has that name or id, or several have that name.

    Example:
        >>> names, ids = [["car"], ["Car"], ["traffic light"], ["3"]], [1, 2, 3, 4]
        >>> [find_class(item, names, ids) for item in ("Car", "Traffic_Light", 3, "3", "1")]
        [1, 2, 2, 3, 0]
    """
    if isinstance(item, Integral) and not isinstance(item, bool):
        found = [k for k, number in enumerate(ids) if number is not None and number == item]
    elif isinstance(item, str):
        digits = item.strip()
        found = _with_name(item, names) or [k for k, n in enumerate(ids) if n is not None and str(n) == digits]
        found = found or _with_name(folded(item), [[folded(name) for name in of_class] for of_class in names])
    else:
        found = []
    if len(found) == 1:
        return found[0]
    if found:
        meant = ", ".join(_described(k, names, ids) for k in found)
        raise ValueError(f"{item!r} can be several classes: {meant}. Fix: write the exact name, or the {kind}.")
    choices = ", ".join(_described(k, names, ids) for k in range(len(names)))
    raise ValueError(f"There is no class {item!r}. Fix: choose by name or {kind}: {choices}.")


def _described(k: int, names: Sequence[Sequence[str]], ids: Sequence[int | None]) -> str:
    return names[k][0] if ids[k] is None else f"{ids[k]} {names[k][0]}"


def _with_name(name: str, names: Sequence[Sequence[str]]) -> list[int]:
    return [k for k, of_class in enumerate(names) if name in of_class]
