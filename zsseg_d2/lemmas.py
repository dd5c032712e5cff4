"""Singulars of English nouns, from lemminflect's dictionary; offline."""

from __future__ import annotations

from functools import lru_cache

from .class_names import folded


def singular(name: str) -> str:
    """Return a name with its last word in the singular, without differences of case, whitespace and underscores.

    Args:
        name: one or several words; unknown ones stay as they are.

    Example:
        >>> [singular(name) for name in ("Buses", "bus", "wolves", "traffic_lights", "sheep", "glass")]
        ['bus', 'bus', 'wolf', 'traffic light', 'sheep', 'glass']
    """
    *first, last = folded(name).split(" ")
    return " ".join((*first, _singular(last)))


@lru_cache(maxsize=2**14)
def _singular(noun: str) -> str:
    from lemminflect import getLemma  # reads its dictionary

    found = getLemma(noun, "NOUN")
    return found[0] if found else noun
