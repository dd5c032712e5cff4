"""Which class of a dataset a word means: by its name, a synonym, a hyponym or a meronym."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import resources

import msgspec
import yaml

from ...lemmas import singular

LEVELS = ("exact", "synonym", "hyponym", "meronym")
"""Each level includes those before it."""


class Concept(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"synonyms": "is"}):
    """Words about one concept, separated by commas: other names, narrower words, and words for its parts."""

    synonyms: str = ""
    kinds: str = ""
    parts: str = ""


class Relations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version and the concepts by name, likelier ones first."""

    version: int
    concepts: dict[str, Concept]


@lru_cache(maxsize=1)
def packaged_relations() -> Relations:
    """Read ``relations.yaml``."""
    text = (resources.files("zsseg_d2") / "evaluation" / "auto_vocabulary" / "relations.yaml").read_text("utf-8")
    return msgspec.convert(yaml.safe_load(text), Relations)


class ClassFinder:
    """Finds the class of a word.

    The lemma of the word is looked up level by level: the name of a class; its other names in the vocabulary, and
    synonyms; words for a kind of it; words for a part of it. A phrase that is found nowhere is a kind of what its last
    word means. A word below several concepts belongs to the first of them that the dataset has.

    Args:
        classes: (K,) the names of each class, the one that is printed first.
        relations: see :class:`Relations`; None: the packaged ones.

    Example:
        >>> finder = ClassFinder([["car", "cars"], ["person"]])
        >>> [finder.find(word) for word in ("cars", "automobile", "old taxi", "headlights", "ufo")]
        [(0, 'exact'), (0, 'synonym'), (0, 'hyponym'), (0, 'meronym'), None]
    """

    def __init__(self, classes: Sequence[Sequence[str]], relations: Relations | None = None) -> None:
        relations = relations or packaged_relations()
        tables: tuple[dict[str, int], ...] = ({}, {}, {}, {})
        exact, synonyms, kinds, parts = tables
        for k, names in enumerate(classes):
            exact.setdefault(singular(names[0]), k)
        for k, names in enumerate(classes):
            _add(synonyms, names[1:], k)
        owners = {**synonyms, **exact}
        for concept, words in relations.concepts.items():
            if (owner := owners.get(singular(concept))) is not None:
                for table, text in ((synonyms, words.synonyms), (kinds, words.kinds), (parts, words.parts)):
                    _add(table, text.split(",") if text else (), owner)
        self._tables = tables

    def find(self, word: str) -> tuple[int, str] | None:
        """Return the class of a word in [0, K) and the first level that has it; None if it means no class."""
        name = singular(word)
        found = self._look_up(name)
        if found is None and " " in name:
            head = self._look_up(name.rpartition(" ")[2])
            if head is not None:
                found = (head[0], max(head[1], LEVELS.index("hyponym")))
        return None if found is None else (found[0], LEVELS[found[1]])

    def mapping(self, words: Sequence[str], level: str) -> dict[str, int]:
        """Return the class of each word that has one on a level, or on one before it."""
        found = {word: self.find(word) for word in words}
        last = LEVELS.index(level)
        return {word: f[0] for word, f in found.items() if f is not None and LEVELS.index(f[1]) <= last}

    def _look_up(self, name: str) -> tuple[int, int] | None:
        return next(((table[name], level) for level, table in enumerate(self._tables) if name in table), None)


def _add(table: dict[str, int], names: Sequence[str], owner: int) -> None:
    for name in names:
        table.setdefault(singular(name), owner)


def levels_of(finder: ClassFinder, words: Sequence[str], names: Sequence[str]) -> dict[str, dict | None]:
    """Return class and level of each word, for reports."""
    found = {word: finder.find(word) for word in sorted(words)}
    return {word: None if f is None else {"class": names[f[0]], "level": f[1]} for word, f in found.items()}
