"""The named configurations of deleted classes, as command-line tools take them."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import DatasetError
from ..panoptic.deletion import CONFIGURATIONS, Configurations, configuration

__all__ = ["CONFIGURATIONS", "chosen_configurations", "configuration"]


def chosen_configurations(names: Iterable[str], configurations: Configurations = CONFIGURATIONS) -> tuple[str, ...]:
    """Return the configurations that `names` select, in their order and each once.

    Args:
        names: ``"008"``, a range ``"002-005"`` (both ends included), or ``"all"``.
        configurations: the known ones, in order.

    Raises:
        DatasetError: there is no such configuration, or a range goes backwards.
    """
    known = list(configurations)
    found: set[str] = set()
    for name in names:
        if name == "all":
            found.update(known)
        elif name in configurations:
            found.add(name)
        else:
            found.update(_range(name, configurations))
    return tuple(name for name in known if name in found)


def _range(name: str, configurations: Configurations) -> list[str]:
    first, dash, last = name.partition("-")
    for end in (first, last or first):
        configuration(end, configurations)
    known = list(configurations)
    part = known[known.index(first) : known.index(last or first) + 1]
    if not part or (dash and not last):
        raise DatasetError(f"{name!r} is not a range of configurations; write the smaller first, as in 002-005.")
    return part
