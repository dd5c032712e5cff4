"""Class names, synonyms and prompt templates. Knows no dataset and no network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml

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


@dataclass(frozen=True)
class Vocabulary:
    """K classes, each a tuple of synonyms; the first synonym is the name that is printed.

    Raises:
        ValueError: no class, a class without a synonym, or two classes with the same name.
    """

    classes: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError("A vocabulary needs at least one class.")
        for index, synonyms in enumerate(self.classes):
            if not synonyms or not all(isinstance(s, str) and s.strip() for s in synonyms):
                raise ValueError(f"Class {index} of the vocabulary has an empty name: {synonyms!r}.")
        names = self.names
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"The vocabulary names these classes twice: {', '.join(repeated)}.")

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
        """Return for each class (K) whether ``other`` has one of its synonyms (FC-CLIP, section 3.3: seen classes)."""
        known = set(other.rows)
        return tuple(any(s in known for s in synonyms) for synonyms in self.classes)

    @classmethod
    def from_strings(cls, entries: Sequence[str]) -> Vocabulary:
        """Build a vocabulary of one class per entry: its synonyms, separated by commas."""
        return cls(tuple(tuple(s.strip() for s in entry.split(",") if s.strip()) for entry in entries))

    @classmethod
    def load(cls, source: str | Path) -> Vocabulary:
        """Load a vocabulary by the name of a packaged one (``cityscapes``, ``coco_panoptic``, …) or from a file.

        ``.yaml`` files hold a list; an entry is ``name``, ``"name, synonym"``, or a list of synonyms. Any other file is
        text with one class a line, synonyms separated by commas, blank lines and ``#`` comments skipped; FC-CLIP's
        leading ``id:`` is accepted, and its line ``0:invalid_class_id`` is skipped.

        Raises:
            FileNotFoundError: neither a packaged name nor a file.
            ValueError: the file does not hold a list of names.
        """
        packaged = resources.files("zsseg_d2") / "vocabularies" / f"{source}.yaml"
        path = packaged if packaged.is_file() else Path(source).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"No vocabulary '{source}': it is neither a file nor one of {', '.join(packaged_vocabularies())}."
            )
        text = path.read_text(encoding="utf-8")
        entries = _parse_yaml(text, path) if path.name.endswith((".yaml", ".yml")) else _parse_text(text)
        try:
            return cls(tuple(entries))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def packaged_vocabularies() -> tuple[str, ...]:
    """Return the names that :meth:`Vocabulary.load` accepts in addition to files."""
    folder = resources.files("zsseg_d2") / "vocabularies"
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def _split(entry: str) -> tuple[str, ...]:
    return tuple(s.strip() for s in entry.split(",") if s.strip())


def _parse_yaml(text: str, path) -> list[tuple[str, ...]]:
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(loaded, list):
        raise ValueError(f"{path}: expected a YAML list of classes, found {type(loaded).__name__}.")
    entries = []
    for item in loaded:
        if isinstance(item, str):
            entries.append(_split(item))
        elif isinstance(item, list) and all(isinstance(s, str) for s in item):
            entries.append(tuple(s.strip() for s in item))
        else:
            raise ValueError(f"{path}: {item!r} is neither a name nor a list of synonyms (quote words like 'yes').")
    return entries


def _parse_text(text: str) -> list[tuple[str, ...]]:
    entries = []
    for line in text.splitlines():
        line = re.sub(r"^\s*\d+\s*:", "", line.split("#")[0]).strip()
        if line and line != "invalid_class_id":
            entries.append(_split(line))
    return entries
