"""Words of the user: class names with synonyms, each a thing or stuff."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...class_sets import EvalClasses
from ...data.panoptic.coco import COCO
from ...data.panoptic.family import PANOPTIC_FAMILIES
from ...vocabulary import Vocabulary, clip_tokens, packaged_vocabularies
from ..errors import USER_ERRORS, ConfigError, explanation

WordsLike = str | os.PathLike | Vocabulary | Sequence[str | Sequence[str]]
"""What :func:`parse_words` accepts."""

_MARK = re.compile(r"\s*\((thing|stuff)\)\s*$", re.IGNORECASE)
_FILES = (".txt", ".yaml", ".yml")
_EXAMPLE = '"road, sky, car|cars|automobile"'


@dataclass(frozen=True)
class Words:
    """K classes and which of them are things.

    Attributes:
        vocabulary: K classes.
        things: positions of the classes whose instances are told apart.
    """

    vocabulary: Vocabulary
    things: frozenset[int]


def parse_words(words: WordsLike, tested: EvalClasses | None = None, *, files: bool = True) -> Words:
    """Read the user's words.

    Text holds classes separated by commas, their synonyms by ``|``. It may also be the name of a packaged list
    (``coco``, ``cityscapes``, …), or a file; see :meth:`zsseg_d2.Vocabulary.load`. A sequence holds a class an entry: a
    tuple of synonyms, or text with synonyms separated by ``|`` or commas. A name may end in ``(thing)`` or ``(stuff)``;
    without a mark, classes are what the test set and the packaged datasets say, else things.

    Args:
        words: see above.
        tested: classes of the test set.
        files: whether text may name a file; False for the words of strangers.

    Raises:
        ConfigError: there is no word, a word twice or with two marks, or a file cannot be read.

    Example:
        >>> found = parse_words("road, car|cars, water slide (stuff)")
        >>> found.vocabulary.classes
        (('road',), ('car', 'cars'), ('water slide',))
        >>> found.things
        frozenset({1})
    """
    try:
        classes, marks = zip(*map(_class, _entries(words, files)))
        vocabulary = Vocabulary(classes)
    except (*USER_ERRORS, ValueError) as error:
        problem = explanation(error) or str(error)
        if not _has_entries(words):
            problem = f"there are no words. Fix: name what to look for, as in {_EXAMPLE}, or leave --words out."
        raise ConfigError(f"words={_shown(words, files)!r}: {problem}") from error
    known = _known_things(vocabulary, tested)
    things = set()
    for k, (synonyms, mark) in enumerate(zip(vocabulary.classes, marks)):
        told = [known[tokens] for tokens in map(clip_tokens, synonyms) if tokens in known]
        if mark == "thing" or (mark is None and (not told or told[0])):
            things.add(k)
    return Words(vocabulary, frozenset(things))


def _entries(words: WordsLike, files: bool) -> list[list[str]]:
    """Return the synonyms of each class, with marks."""
    if isinstance(words, Vocabulary):
        return [list(synonyms) for synonyms in words.classes]
    if isinstance(words, str | os.PathLike):
        source = _source(words, files)
        if source is None:
            return [part.split("|") for part in str(words).split(",") if part.strip()]
        return [[s for part in synonyms for s in part.split("|")] for synonyms in Vocabulary.load(source).classes]
    found: list[list[str]] = []
    for number, entry in enumerate(words):
        if isinstance(entry, str):
            found.append(re.split(r"[|,]", entry))
        elif isinstance(entry, list | tuple) and all(isinstance(s, str) for s in entry):
            found.append(list(entry))
        else:
            raise ValueError(f"entry {number} is neither text nor a list of synonyms.")
    return found


def _has_entries(words: WordsLike) -> bool:
    if isinstance(words, str):
        return bool(words.replace(",", " ").strip())
    return isinstance(words, os.PathLike) or len(words) > 0


def _source(words: str | os.PathLike, files: bool) -> str | None:
    """Return what :meth:`Vocabulary.load` takes if this is a packaged list or, with `files`, a file; else None."""
    text = os.fspath(words).strip()
    for name in (text, f"{text}_panoptic"):
        if name in packaged_vocabularies():
            return name
    if not files:
        return None
    is_file = "," not in text and "|" not in text and text.lower().endswith(_FILES)
    return text if is_file or isinstance(words, os.PathLike) or _exists(text) else None


def _shown(words: WordsLike, files: bool) -> str:
    """Return how a message names the words: by the whole path of their file, else by how they begin."""
    if not isinstance(words, str | os.PathLike):
        return type(words).__name__
    source = _source(words, files)
    return source if source is not None and _exists(source) else os.fspath(words)[:60]


def _exists(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # longer than any name of a file, or with a null character
        return False


def _class(synonyms: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """Split the synonyms of a class from its mark."""
    names, marks = [], set()
    for synonym in synonyms:
        while mark := _MARK.search(synonym):
            marks.add(mark[1].lower())
            synonym = synonym[: mark.start()]
        names.append(synonym.strip())
    names = [name for name in names if name] or [""]
    if len(marks) > 1:
        raise ValueError(f"the class {names[0]!r} is marked both (thing) and (stuff). Fix: leave one of the marks.")
    return tuple(names), marks.pop() if marks else None


def _known_things(vocabulary: Vocabulary, tested: EvalClasses | None) -> dict[tuple[int, ...], bool]:
    """Return for each known name, as :func:`clip_tokens`, whether it is a thing.

    A dataset with this very vocabulary comes first, then the test set, COCO and the others; the names of all come
    before their synonyms. Datasets of label maps tell no things from stuff, and are left out.
    """
    sources = [] if tested is None else [(tested.vocabulary, tested.things)]
    for family in (COCO, *(f for f in PANOPTIC_FAMILIES.values() if not f.semantic)):
        sources.append((family.vocabulary, frozenset(k for k, c in enumerate(family.categories) if c.isthing)))
    sources.sort(key=lambda source: source[0] != vocabulary)
    found: dict[tuple[int, ...], bool] = {}
    for most in (1, None):
        for words, things in sources:
            for k, synonyms in enumerate(words.classes):
                for name in synonyms[:most]:
                    found.setdefault(clip_tokens(name), k in things)
    return found
