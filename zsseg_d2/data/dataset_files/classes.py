"""The classes of a dataset file: ids and names, thing or stuff, and the words that CLIP reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from ...class_names import find_class
from ...reading import JSON_LIMIT, UnusableFile, printable, read_json
from ...vocabulary import Vocabulary, packaged_vocabularies
from ..errors import DatasetError
from ..panoptic.categories import PanopticCategory, distinct_colors
from ..panoptic.schema import CategoryEntry
from .description import Class, Description


class _Categories(msgspec.Struct):
    """The part of a panoptic JSON that names the classes."""

    categories: list[CategoryEntry]


def categories_of(description: Description, files: Sequence[Path], source: Path) -> tuple[PanopticCategory, ...]:
    """Return the classes (K,) in the order of ``categories``, or of their ids in the annotations.

    Args:
        description: the content of the dataset file.
        files: the panoptic JSON of each split; those that are there are read if the description lists no classes.
        source: the dataset file, for messages.

    Raises:
        DatasetError: the classes are not known, contradict each other, or are not told to be things or stuff.
    """
    if description.categories is not None:
        listed: Sequence[Class] = description.categories
    elif description.is_semantic:
        listed = _in_order(description, source)
    else:
        listed = _in_annotations(files, source)
    if not listed:
        raise DatasetError(f"{source}: there is no class. Fix: list the classes in the annotations or 'categories'.")
    if description.is_semantic:
        _check_ignored(description, listed, source)
    things = [False] * len(listed) if description.is_semantic else _things(description, listed, source)
    colors = [c.color or color for c, color in zip(listed, distinct_colors(len(listed)))]
    return tuple(PanopticCategory(c.id, c.name, thing, color) for c, thing, color in zip(listed, things, colors))


def vocabulary_of(description: Description, categories: Sequence[PanopticCategory], source: Path) -> Vocabulary:
    """Return the words of each class (K classes, in the order of `categories`).

    Raises:
        DatasetError: the vocabulary cannot be read, lacks a class or has one too many; the message names it.
    """
    given, names = description.vocabulary, [c.name for c in categories]
    try:
        if given is None:
            return Vocabulary(tuple((name,) for name in names))
        if isinstance(given, dict):
            words = {name: _synonyms(entry) for name, entry in given.items()}
            places = _assign([[name] for name in words], names)
            return Vocabulary(tuple(words.values())).subset(places)
        loaded = _load(given, source) if isinstance(given, str) else Vocabulary(tuple(map(_synonyms, given)))
        if description.words_by == "order" or (description.is_semantic and description.categories is None):
            if len(loaded) != len(names):
                raise ValueError(f"has {len(loaded)} classes, but 'categories' has {len(names)}")
            return loaded
        return loaded.subset(_assign(loaded.classes, names))
    except (ValueError, OSError) as error:
        raise DatasetError(f"{source}: 'vocabulary': {error}") from None


def _assign(words: Sequence[Sequence[str]], names: Sequence[str]) -> list[int]:
    """Return the entry of the vocabulary for each class; each entry is used once."""
    places: list[int] = []
    for name in names:
        place = _find(name, [entry[:1] for entry in words])
        place = _find(name, words) if place is None else place
        if place is None:
            raise ValueError(
                f"it does not know the class '{printable(name)}' of the annotations, or has it twice. Fix: write the "
                f"name as in the annotations, as in 'vocabulary: {{{printable(name)}: \"its words, synonyms\"}}'."
            )
        places.append(place)
    unused = next((k for k in range(len(words)) if k not in places), None)
    if unused is not None:
        raise ValueError(
            f"'{printable(words[unused][0])}' is no class of the annotations. Fix: remove it; there are "
            f"{printable(', '.join(names))}."
        )
    return places


def _find(name: str, words: Sequence[Sequence[str]]) -> int | None:
    try:
        return find_class(name, words, [None] * len(words))
    except ValueError:
        return None


def _load(name: str, source: Path) -> Vocabulary:
    return Vocabulary.load(name if name in packaged_vocabularies() else source.parent / Path(name).expanduser())


def _synonyms(entry: str | list[str]) -> tuple[str, ...]:
    listed = entry.split(",") if isinstance(entry, str) else entry
    return tuple(word.strip() for word in listed if word.strip())


def _things(description: Description, listed: Sequence[Class], source: Path) -> list[bool]:
    """Return (K,) whether each class is a thing."""
    things, stuff = (_positions(description, key, listed, source) for key in ("things", "stuff"))
    both = things & stuff
    if both:
        raise DatasetError(f"{source}: the class '{listed[min(both)].name}' is both thing and stuff. Fix: choose one.")
    found = []
    for k, entry in enumerate(listed):
        stated = True if k in things else False if k in stuff else None
        if stated is None and (description.things is None) != (description.stuff is None):
            stated = description.things is None  # one list alone is complete
        if stated is not None and entry.thing is not None and stated != entry.thing:
            raise DatasetError(
                f"{source}: the class '{entry.name}' is {'a thing' if stated else 'stuff'} by 'things' and 'stuff', "
                f"but {'a thing' if entry.thing else 'stuff'} where the classes are listed. Fix: correct one of them."
            )
        thing = entry.thing if stated is None else stated
        if thing is None:
            raise DatasetError(
                f"{source}: nothing says whether '{entry.name}' is a thing or stuff. Fix: list it under 'things' or "
                "'stuff'."
            )
        found.append(thing)
    return found


def _positions(description: Description, key: str, listed: Sequence[Class], source: Path) -> set[int]:
    names = [[c.name] for c in listed]
    try:
        return {find_class(name, names, [None] * len(names)) for name in getattr(description, key) or ()}
    except ValueError as error:
        raise DatasetError(f"{source}: '{key}': {error}") from None


def _in_order(description: Description, source: Path) -> list[Class]:
    """Return the classes of a vocabulary in the order of the values in label maps, from 0."""
    try:
        given = description.vocabulary
        if isinstance(given, str):
            names: Sequence[str] = _load(given, source).names
        else:
            names = [_synonyms(entry)[0] if not isinstance(given, dict) else str(entry) for entry in given or ()]
    except (ValueError, OSError, IndexError) as error:
        raise DatasetError(f"{source}: 'vocabulary': {error}") from None
    return [Class(k, name) for k, name in enumerate(names)]


def _check_ignored(description: Description, listed: Sequence[Class], source: Path) -> None:
    both = next((c for c in listed if c.id in description.ignored), None)
    if both is not None:
        raise DatasetError(
            f"{source}: the value {both.id} is the class '{both.name}', and is ignored. Fix: correct 'ignore', or give "
            "each class its value under 'categories'."
        )


def _in_annotations(files: Sequence[Path], source: Path) -> list[Class]:
    """Return the classes of all annotations that are there, by id."""
    found: dict[int, tuple[Class, Path]] = {}
    there = [path for path in files if path.is_file()]
    if not there:
        missing = ", ".join(map(str, files))
        raise DatasetError(f"{source}: there are no annotations {missing}. Fix: correct 'annotations' or 'root'.")
    for path in there:
        entries = _read_categories(path, _state(path))
        for k, entry in enumerate(entries):
            new = Class(entry.id, entry.name, None if entry.isthing is None else bool(entry.isthing))
            old, other = found.setdefault(entry.id, (new, path))
            if old != new or any(before.id == entry.id for before in entries[:k]):
                raise DatasetError(
                    f"{path}: category {entry.id} ('{entry.name}') is listed twice, or is another one in {other}. "
                    f"Fix: correct the files, or list the classes under 'categories' in {source}."
                )
    return [found[number][0] for number in sorted(found)]


def _state(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=32)
def _read_categories(path: Path, state: tuple[int, int]) -> tuple[CategoryEntry, ...]:
    """Read the classes of a panoptic JSON; `state` changes with the file."""
    try:
        return tuple(read_json(path, _Categories, limit=JSON_LIMIT).categories)
    except UnusableFile as error:
        raise DatasetError(str(error)) from None
