"""Words that are found in each image, and those that the user adds or leaves out: ``auto, traffic cone, -shadow``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from torch import Tensor

from ...auto_vocabulary.finder import ImageWords, WordFinder
from ...auto_vocabulary.word_lists import PACKAGED
from ...auto_vocabulary.words import with_added, without
from ...class_sets import ClassSets, EvalClasses
from ...data.panoptic.categories import PanopticCategory, color_of_name
from ...files import file_digest, local_path
from ...meta_arch.auto_vocabulary import classes_of
from ...vocabulary import Vocabulary
from ..errors import ConfigError
from .words import Words, WordsLike, parse_words

AUTO = "auto"
"""The entry of the user's words that asks for those of the image."""


def auto_settings(cfg: CfgNode) -> dict[str, Any]:
    """Return all that the words of an image depend on, in JSON's types: the keys, and hashes of the files."""
    node = cfg.MODEL.AUTO_VOCABULARY
    weights = local_path(node.CAPTIONER_WEIGHTS)
    files = [weights] if weights.is_file() else sorted(weights.glob("*.safetensors"))
    files += [Path(node.WORD_LISTS).expanduser() if node.WORD_LISTS else PACKAGED]
    keys = {key: value for key, value in node.items() if key not in ("CAPTIONER_WEIGHTS", "WORD_LISTS", "GIVEN_NAMES")}
    return {**json.loads(json.dumps(keys)), "files": [file_digest(file) for file in files]}


@dataclass(frozen=True)
class AutoRequest:
    """What the user wants beside the words of the image.

    Attributes:
        added: words that are looked for in any case; None: none.
        left_out: names that are not looked for.
    """

    added: Words | None = None
    left_out: tuple[str, ...] = ()

    def settings(self) -> list[str]:
        """Return the request as the entries of a list, each word once."""
        marked = []
        if self.added:
            for k, synonyms in enumerate(self.added.vocabulary.classes):
                marked.append(f"{'|'.join(synonyms)} ({'thing' if k in self.added.things else 'stuff'})")
        return [AUTO, *marked, *(f"-{name}" for name in self.left_out)]


def parse_auto(words: WordsLike | None, tested: EvalClasses | None = None) -> AutoRequest | None:
    """Read words that begin with ``auto``: words to add, and words to leave out with a ``-`` in front.

    Args:
        words: text with commas, or a sequence of entries; see :func:`zsseg_d2.engine.prediction.words.parse_words`.
        tested: classes of the test set.

    Returns:
        None if the first entry is not ``auto``.

    Raises:
        ConfigError: see :func:`parse_words`; or a word is added and left out.

    Example:
        >>> found = parse_auto("auto, traffic cone|cone, -shadow")
        >>> found.added.vocabulary.classes, found.left_out
        ((('traffic cone', 'cone'),), ('shadow',))
        >>> parse_auto("car, road") is None
        True
    """
    if words is None or isinstance(words, Vocabulary | os.PathLike):
        return None
    entries: list = [part.strip() for part in words.split(",")] if isinstance(words, str) else list(words)
    if not entries or not isinstance(entries[0], str) or entries[0].strip().casefold() != AUTO:
        return None
    added, left_out = [], []
    for entry in entries[1:]:
        if isinstance(entry, str) and entry.strip().startswith("-"):
            left_out.append(" ".join(entry.strip()[1:].split()))
        elif not isinstance(entry, str) or entry.strip():
            added.append(entry)
    if not all(left_out):
        raise ConfigError("words: '-' names no word. Fix: write the word after it, as in \"auto, -shadow\".")
    parsed = parse_words(added, tested) if added else None
    own = {name.casefold() for name in parsed.vocabulary.rows} if parsed else set()
    both = sorted(own & {name.casefold() for name in left_out})
    if both:
        raise ConfigError(f"words: {both[0]!r} is added and left out. Fix: leave one of them.")
    return AutoRequest(parsed, tuple(left_out))


@dataclass
class FoundCategories:
    """Ids and colors of words.

    Ids count words in the order in which they are found, so that those of an image fit the next. Colors depend on the
    word alone.
    """

    by_name: dict[tuple[str, bool], PanopticCategory] = field(default_factory=dict)
    _sorted: tuple[PanopticCategory, ...] = ()

    @property
    def all(self) -> tuple[PanopticCategory, ...]:
        """Those of all images so far, by their names."""
        if len(self._sorted) < len(self.by_name):
            self._sorted = tuple(sorted(self.by_name.values(), key=lambda c: (c.name, c.isthing)))
        return self._sorted

    def of(self, kinds: Iterable[tuple[str, bool]]) -> tuple[PanopticCategory, ...]:
        """Return the categories of names and whether they are things; new ones get the next id."""
        found = []
        for name, thing in kinds:
            number = len(self.by_name) + 1
            if (name, thing) not in self.by_name:
                color = color_of_name(f"{name} ({'thing' if thing else 'stuff'})")
                self.by_name[name, thing] = PanopticCategory(number, name, thing, color)
            found.append(self.by_name[name, thing])
        return tuple(found)

    def remember(self, words: Iterable[tuple[int, str, bool]]) -> None:
        """Take over ids, names and kinds of an earlier run.

        Raises:
            ValueError: an id is missing, or stands for several words.
        """
        known = {(number, name, thing) for number, name, thing in words}
        for expected, (number, name, thing) in enumerate(sorted(known), start=1):
            if number != expected or (name, thing) in self.by_name:
                raise ValueError(f"the ids of the words are damaged ({number}: {name!r})")
            self.of([(name, thing)])


class AutoWords:
    """Finds the classes of each image.

    Args:
        finder: finds the words of an image.
        sets: classes of the run.
        request: what the user wants beside them.
    """

    def __init__(self, finder: WordFinder, sets: ClassSets, request: AutoRequest) -> None:
        self.finder, self.request = finder, request
        self.categories = FoundCategories()
        self._sets = sets

    def find(self, image: Tensor) -> tuple[ImageWords, EvalClasses | None, tuple[PanopticCategory, ...]]:
        """Find the words of a (3, H, W) uint8 RGB image.

        Returns:
            The words with those that the user added and without those that the user left out; their classes, None if
            there is no word; and the categories of the classes.
        """
        found, lists = self.finder(image), self.finder.lists
        words: Sequence = without(found.words, self.request.left_out, lists)
        if self.request.added:
            words = with_added(words, self.request.added.vocabulary, self.request.added.things, lists)
        classes = classes_of(words, self._sets)
        if classes is None:
            return replace(found, words=()), None, ()
        if self.request.added:  # the user's marks win over the test set's kinds
            count = len(self.request.added.vocabulary)
            classes = replace(classes, things=self.request.added.things | {k for k in classes.things if k >= count})
        words = tuple(replace(word, thing=k in classes.things) for k, word in enumerate(words))
        return replace(found, words=words), classes, self.categories.of((word.name, word.thing) for word in words)
