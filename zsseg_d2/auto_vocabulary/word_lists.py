"""The word lists of the auto-vocabulary: stop words, colors, compounds, lemmas, synonyms and stuff."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import resources
from pathlib import Path

import msgspec
import yaml

from ..reading import MB, UnusableFile, explain, printable, read_text, yaml_problem

PACKAGED = Path(str(resources.files("zsseg_d2"))) / "auto_vocabulary" / "lists" / "english.yaml"

_LIMIT = 8 * MB


class WordLists(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of word lists; all words are lower case.

    Attributes:
        version: of the file.
        stop: nouns that name no part of a picture.
        colors: left out of names; no names of their own, but for `colored_things`.
        colored_things: colors that are also things.
        modifiers: other words that are left out of names.
        compounds: names of several words that stand for themselves, not for a kind of their last word.
        lemmas: plural -> singular, where a dictionary is wrong.
        synonyms: names of one kind each; the first is shown for several.
        stuff: kinds without instances.
    """

    version: int
    stop: frozenset[str] = frozenset()
    colors: frozenset[str] = frozenset()
    colored_things: frozenset[str] = frozenset()
    modifiers: frozenset[str] = frozenset()
    compounds: frozenset[str] = frozenset()
    lemmas: dict[str, str] = {}
    synonyms: tuple[tuple[str, ...], ...] = ()
    stuff: frozenset[str] = frozenset()

    def kind_of(self, name: str) -> str:
        """Return the first of a name's synonyms, or the name itself."""
        return _kinds(self.synonyms).get(name, name)

    def is_thing(self, name: str) -> bool:
        """Return whether a name stands for things that can be counted; unknown names do."""
        return name not in self.stuff


@lru_cache(maxsize=8)
def _kinds(groups: tuple[tuple[str, ...], ...]) -> dict[str, str]:
    return {name: group[0] for group in groups for name in group}


@lru_cache(maxsize=8)
def read_word_lists(path: str | os.PathLike = "") -> WordLists:
    """Read a file of word lists.

    Args:
        path: a YAML file with the fields of :class:`WordLists`; "": the packaged one.

    Raises:
        UnusableFile: the file is missing, no YAML, or of another structure; the message names it.
    """
    file = Path(path).expanduser() if path else PACKAGED
    try:
        content = yaml.safe_load(read_text(file, _LIMIT))
        return msgspec.convert(content, WordLists)
    except FileNotFoundError:
        raise UnusableFile(
            f"{printable(file)}: there is no such file. Fix: check MODEL.AUTO_VOCABULARY.WORD_LISTS, or leave it out."
        ) from None
    except msgspec.ValidationError as error:
        place, problem = explain(error)
        raise UnusableFile(f"{printable(file)}: '{place or 'the file'}' {problem}. Fix: see {PACKAGED.name}.") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UnusableFile(f"{printable(file)}: {yaml_problem(error)} Fix: correct it.") from None
