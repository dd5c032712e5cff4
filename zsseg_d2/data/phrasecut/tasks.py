"""Entries of PhraseCut's JSON files -> checked tasks."""

from __future__ import annotations

from dataclasses import dataclass
from sys import intern
from typing import Any

import msgspec

from ...reading import explain
from .polygons import Polygons, pack_polygons


class TaskError(ValueError):
    """A problem with one task.

    Args:
        kind: the problem in a few words, by which problems are counted.
        message: the problem in a sentence.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Task:
    """A phrase and the region that it refers to.

    Args:
        task_id: ``"{image_id}__{ann_id}[_{ann_id}...]"``; predictions are saved under this name.
        image_id: the image.
        ann_ids: objects of Visual Genome.
        phrase: the words.
        phrase_structure: ``{name, attributes [text], relation_ids [id], relation_descriptions [[predicate, object]],
            type}``; type says what makes the region unique: name, attribute (with the name), relation (with the name)
            or verbose (all).
        polygons: the region.
    """

    task_id: str
    image_id: int
    ann_ids: tuple[int, ...]
    phrase: str
    phrase_structure: dict
    polygons: Polygons


class _Structure(msgspec.Struct, gc=False):
    name: str | None = None
    attributes: list[str] | None = None
    relation_ids: list | None = None
    relation_descriptions: list[tuple[str, str]] | None = None
    type: str | None = None


class _Entry(msgspec.Struct, gc=False, rename={"polygons": "Polygons"}):
    task_id: str
    image_id: int
    phrase: str | None = None
    ann_ids: list[int] = []
    phrase_structure: _Structure | None = None
    polygons: Any = None  # checked by `pack_polygons`


def parse_task(entry: object) -> Task:
    """Check an entry of the JSON.

    Args:
        entry: the parsed JSON, of any type; unknown fields are ignored.

    Returns:
        The task, with a complete ``phrase_structure``.

    Raises:
        TaskError: a field is missing or of the wrong type, the phrase is empty, or the polygons are wrong.
    """
    try:
        found = msgspec.convert(entry, _Entry)
    except msgspec.ValidationError as error:
        place, problem = explain(error)
        raise TaskError("malformed task", f"'{place or 'task'}' {problem}") from None
    if not found.task_id or set(found.task_id) & set("/\\\0") or found.task_id in (".", ".."):
        raise TaskError("malformed task", f"'task_id' ({found.task_id!r}) cannot be the name of a file")
    phrase = found.phrase or ""
    if not phrase.strip():
        raise TaskError("empty phrase", f"'phrase' is empty ({found.phrase!r})")
    try:
        polygons = pack_polygons(found.polygons)
    except ValueError as error:
        raise TaskError("bad polygon", f"'Polygons' has {error}") from None
    structure = _complete(found.phrase_structure or _Structure(), phrase)
    return Task(found.task_id, found.image_id, tuple(found.ann_ids), phrase, structure, polygons)


def name_of(entry: object) -> str:
    """Return the id of a task in an entry of any type, "" if it has none."""
    task_id = entry.get("task_id") if isinstance(entry, dict) else None
    return task_id if isinstance(task_id, str) else ""


def _complete(structure: _Structure, phrase: str) -> dict:
    """Fill the missing parts of a structure; the phrase replaces a missing name."""
    # A few thousand different words are used by hundreds of thousands of tasks.
    return {
        "name": intern(phrase if structure.name is None else structure.name),
        "attributes": [intern(text) for text in structure.attributes or ()],
        "relation_ids": structure.relation_ids or [],
        "relation_descriptions": [[intern(a), intern(b)] for a, b in structure.relation_descriptions or ()],
        "type": intern("name" if structure.type is None else structure.type),
    }
