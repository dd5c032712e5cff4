"""Class names, synonyms and prompt templates. Knows no dataset and no network."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from .reading import MB, UnusableFile, printable, read_text, yaml_problem

if TYPE_CHECKING:
    from open_clip import SimpleTokenizer

logger = logging.getLogger(__name__)

PROMPT_TEMPLATES: tuple[str, ...] = (
    "a photo of a {}.",
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
    "a photo of a small {}.",
    "a photo of a medium {}.",
    "a photo of a large {}.",
    "This is a photo of a small {}.",
    "This is a photo of a medium {}.",
    "This is a photo of a large {}.",
    "There is a small {} in the scene.",
    "There is a medium {} in the scene.",
    "There is a large {} in the scene.",
)
"""The 14 templates of FC-CLIP (Yu et al. 2023, section 4.1, after ViLD and MaskCLIP)."""

CLIP_TOKENS = 75
"""Tokens that CLIP reads of a text, without start and end; the rest is ignored."""

_NAME_TOKENS = CLIP_TOKENS - 3  # the templates with the fewest tokens before a name have three

WORDS_LIMIT = 8 * MB
"""Bytes of the largest file of names that is read."""


@dataclass(frozen=True)
class Vocabulary:
    """K classes, each a tuple of synonyms; the first synonym is the name that is printed.

    Raises:
        ValueError: no class, a class without a synonym, a name with control characters, or two classes with the same
            name; CLIP reads no difference of case or whitespace.
    """

    classes: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError("A vocabulary needs at least one class.")
        for index, synonyms in enumerate(self.classes):
            if isinstance(synonyms, str):
                raise ValueError(f"Class {index} of the vocabulary is text. Fix: write a tuple of synonyms for it.")
            if not synonyms or not all(isinstance(s, str) and s.strip() for s in synonyms):
                raise ValueError(f"Class {index} of the vocabulary has an empty name.")
            unreadable = next((s for s in synonyms if any(map(_is_control, s))), None)
            if unreadable is not None:
                raise ValueError(
                    f"Class {index} of the vocabulary has a name with control characters: "
                    f"'{printable(unreadable[:40])}'. Fix: save text files as UTF-8, and remove the characters."
                )
        found: dict[str, int] = {}
        for index, name in enumerate(self.names):
            first = found.setdefault(" ".join(name.casefold().split()), index)
            if first != index:
                other = self.names[first]
                twice = name if other == name else f"{other} and {name}, which are the same to CLIP"
                raise ValueError(f"The vocabulary names a class twice: {twice}. Fix: give each class its own name.")

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Printed name of each class (K)."""
        return tuple(synonyms[0] for synonyms in self.classes)

    @property
    def rows(self) -> tuple[str, ...]:
        """All synonyms, class by class (T): one text row each."""
        return tuple(s for synonyms in self.classes for s in synonyms)

    @property
    def synonyms_per_class(self) -> tuple[int, ...]:
        """Number of text rows of each class (K)."""
        return tuple(len(synonyms) for synonyms in self.classes)

    def subset(self, indices: Iterable[int]) -> Vocabulary:
        """Return the classes at ``indices``, in that order."""
        return Vocabulary(tuple(self.classes[i] for i in indices))

    def seen_in(self, other: Vocabulary) -> tuple[bool, ...]:
        """Return for each class (K) whether ``other`` has one of its synonyms (FC-CLIP, section 3.3: seen classes).

        Synonyms are compared as :func:`clip_tokens`.
        """
        known = set(map(clip_tokens, other.rows))
        return tuple(any(clip_tokens(s) in known for s in synonyms) for synonyms in self.classes)

    def check_distinct(self) -> None:
        """Check that CLIP can tell the names of all classes apart.

        Raises:
            ValueError: the tokens that CLIP reads of two names are the same.
        """
        same = same_to_clip(self.names, _NAME_TOKENS)
        if same:
            raise ValueError(
                f"The classes {same[0]!r} and {same[1]!r} are the same to CLIP, which reads {CLIP_TOKENS} tokens of a "
                "text. Fix: shorten the names, or give one of them other words."
            )

    @classmethod
    def from_strings(cls, entries: Sequence[str]) -> Vocabulary:
        """Build a vocabulary of one class per entry: its synonyms, separated by commas.

        Raises:
            ValueError: see :class:`Vocabulary`; or `entries` is one string.
        """
        if isinstance(entries, str):
            raise ValueError("A vocabulary needs a list of strings, one for each class, not one string.")
        return cls(tuple(map(_split, entries)))

    @classmethod
    def load(cls, source: str | Path) -> Vocabulary:
        """Load a vocabulary by the name of a packaged one (``cityscapes``, ``coco_panoptic``, …) or from a file.

        Files are UTF-8, with or without a byte order mark. ``.yaml`` files hold a list; an entry is ``name``,
        ``"name, synonym"``, or a list of synonyms. Any other file is text with one class a line, synonyms separated by
        commas. Blank lines are skipped, and so is what follows a ``#`` at the start of a line or after a space.
        FC-CLIP's leading ``id:`` is accepted where every line has it, and its line ``0:invalid_class_id`` is skipped.
        There, of classes with the same first word, all but one are printed by another of their synonyms.

        Raises:
            FileNotFoundError: neither a packaged name nor a file.
            ValueError: the file cannot be read or does not hold a list of names; the message names it.
        """
        packaged = str(source) in packaged_vocabularies()
        path = _FOLDER / f"{source}.yaml" if packaged else Path(source).expanduser()
        try:
            text = read_text(path, WORDS_LIMIT)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"No vocabulary '{printable(source)}': it is neither a file nor one of "
                f"{', '.join(packaged_vocabularies())}."
            ) from None
        try:
            return cls(tuple(_parse_yaml(text) if path.name.endswith((".yaml", ".yml")) else _parse_text(text, path)))
        except ValueError as error:
            raise UnusableFile(f"{printable(path)}: {error}") from None


_FOLDER = Path(str(resources.files("zsseg_d2"))) / "vocabularies"


@lru_cache(maxsize=1)
def packaged_vocabularies() -> tuple[str, ...]:
    """Return the names that :meth:`Vocabulary.load` accepts in addition to files."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


@lru_cache(maxsize=2**16)
def clip_tokens(text: str) -> tuple[int, ...]:
    """Return the tokens that CLIP reads a text as, without start, end and limit.

    CLIP's tokenizer reads no difference of case, whitespace, Unicode form or HTML escapes.

    Example:
        >>> clip_tokens("Traffic   LIGHT") == clip_tokens("traffic light")
        True
    """
    return tuple(_tokenizer().encode(text))


def same_to_clip(texts: Iterable[str], limit: int = CLIP_TOKENS) -> tuple[str, str] | None:
    """Return the first two texts of which CLIP reads the same tokens, None if there are none.

    Args:
        texts: each once.
        limit: number of tokens that CLIP reads.
    """
    found: dict[tuple[int, ...], str] = {}
    for text in texts:
        other = found.setdefault(clip_tokens(text)[:limit], text)
        if other != text:
            return other, text
    return None


@lru_cache(maxsize=1)
def _tokenizer() -> SimpleTokenizer:
    from open_clip import SimpleTokenizer  # imports torch

    return SimpleTokenizer()


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" or character == "\ufeff"  # a byte order mark in the middle


def _split(entry: str) -> tuple[str, ...]:
    return tuple(s.strip() for s in entry.split(",") if s.strip())


def _parse_yaml(text: str) -> list[tuple[str, ...]]:
    try:
        loaded = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(yaml_problem(error)) from None
    if not isinstance(loaded, list):
        raise ValueError(f"expected a YAML list of classes, found {type(loaded).__name__}.")
    entries = []
    for number, item in enumerate(loaded, start=1):
        if isinstance(item, str):
            entries.append(_split(item))
        elif isinstance(item, list) and all(isinstance(s, str) for s in item):
            entries.append(tuple(s.strip() for s in item))
        else:
            raise ValueError(f"entry {number} is neither a name nor a list of synonyms (quote words like 'yes').")
    return entries


_COMMENT = re.compile(r"(^|\s)#.*")
_ID = re.compile(r"\s*\d+\s*:")


def _parse_text(text: str, path: Path) -> list[tuple[str, ...]]:
    lines = [line for line in (_COMMENT.sub("", line).strip() for line in text.splitlines()) if line]
    numbered = [line for line in lines if _ID.match(line)]
    if numbered and len(numbered) < len(lines):
        other = next(line for line in lines if not _ID.match(line))
        raise ValueError(
            f"'{printable(other[:40])}' has no number, but other lines start with one, as in '1:car'. "
            "Fix: number all lines or none; a YAML file can hold any name."
        )
    names = [_ID.sub("", line, count=1).strip() for line in lines]
    if any(";" in name for name in names):
        logger.warning("%s: a name contains ';'. Fix: if it separates synonyms, write commas.", printable(path))
    entries = [_split(name) for name in names if name and name != "invalid_class_id"]
    return _told_apart(entries) if numbered else entries


def _told_apart(entries: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Put a synonym first that no other class is printed by; the order of synonyms does not change a score.

    Example:
        >>> _told_apart([("pot", "flowerpot"), ("pot",), ("bag", "purse")])
        [('flowerpot', 'pot'), ('pot',), ('bag', 'purse')]
    """
    taken = {entry[0].casefold() for entry in entries if len(entry) == 1}
    found = []
    for entry in entries:
        free = next((k for k, word in enumerate(entry) if word.casefold() not in taken), 0)
        if free:
            entry = (entry[free], *entry[:free], *entry[free + 1 :])
        found.append(entry)
        taken.add(entry[0].casefold() if entry else "")
    return found
