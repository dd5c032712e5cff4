"""Splits that share neither a foreground nor a background."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from ...files import file_digest
from ...reading import printable
from ..errors import DatasetError
from .parts import Part, Parts

SPLITS = ("train", "val", "test")
SHARES = (0.7, 0.15, 0.15)
"""Shares of training, validation and test, of the foregrounds and of the backgrounds."""


def split_parts(parts: Parts, shares: Sequence[float] = SHARES) -> dict[str, Parts]:
    """Divide foregrounds and backgrounds among the splits.

    The order is that of a hash of the file names, so that neighbors in a folder, which are often alike, and files that
    are added do not matter. Files with the same bytes go to the same split.

    Args:
        parts: all of them.
        shares: of the splits in the order of :data:`SPLITS`; they add up to 1.

    Raises:
        DatasetError: there are too few different files for three splits.
    """
    foregrounds = _divided(parts.foregrounds, shares, "foregrounds")
    backgrounds = _divided(parts.backgrounds, shares, "backgrounds")
    return {
        split: replace(parts, foregrounds=tuple(front), backgrounds=tuple(back))
        for split, front, back in zip(SPLITS, foregrounds, backgrounds)
    }


def _divided(parts: Sequence[Part], shares: Sequence[float], what: str) -> list[list[Part]]:
    groups: dict[str, list[Part]] = {}
    for part in parts:
        groups.setdefault(file_digest(part.image), []).append(part)
    if len(groups) < len(SPLITS):
        raise DatasetError(
            f"{printable(parts[0].image.parent)}: {len(groups)} different {what} cannot be divided among "
            f"{', '.join(SPLITS)}. Fix: give at least {len(SPLITS)}."
        )
    ordered = sorted(groups.values(), key=lambda group: _hashed(min(part.image.name for part in group)))
    first = min(max(1, round(len(ordered) * shares[0])), len(ordered) - 2)
    second = min(max(first + 1, round(len(ordered) * (shares[0] + shares[1]))), len(ordered) - 1)
    pieces = ordered[:first], ordered[first:second], ordered[second:]
    return [sorted((part for group in piece for part in group), key=lambda p: p.image.name) for piece in pieces]


def _hashed(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def check_disjoint(splits: Mapping[str, Parts]) -> None:
    """Check that no foreground and no background is in two splits, whatever the files are called.

    Raises:
        DatasetError: two files are the same.
    """
    for what in ("foregrounds", "backgrounds"):
        seen = {name: {file_digest(p.image): p.image for p in getattr(parts, what)} for name, parts in splits.items()}
        for one, other in combinations(seen, 2):
            both = sorted(set(seen[one]) & set(seen[other]), key=lambda digest: str(seen[one][digest]))
            if both:
                raise DatasetError(
                    f"{printable(seen[one][both[0]])} ({one}) and {printable(seen[other][both[0]])} ({other}) are the "
                    f"same file; {len(both)} of the {what} are in both splits. Fix: keep each in one split."
                )
