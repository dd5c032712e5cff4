"""Entries of PhraseCut's JSON files -> checked tasks."""

from __future__ import annotations

from dataclasses import dataclass
from sys import intern

from .polygons import Polygons, pack_polygons


class TaskError(ValueError):
    """What is wrong with one task; `kind` names the problem in few words, the message tells it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Task:
    """A phrase and the region that it refers to."""

    task_id: str  # "{image_id}__{ann_id}[_{ann_id}...]"; predictions are saved under this name
    image_id: int
    ann_ids: tuple[int, ...]  # objects of Visual Genome
    phrase: str
    phrase_structure: dict  # see `parse_structure`
    polygons: Polygons


def parse_task(entry: object) -> Task:
    """A checked task.

    Raises:
        TaskError: an entry is missing or of the wrong type, the phrase is empty, or the polygons are wrong.
    """
    task_id = name_of(entry)
    if not task_id or set(task_id) & set("/\\\0") or task_id in (".", ".."):
        raise TaskError("malformed task", f"its 'task_id' ({task_id!r}) is missing, or cannot be the name of a file")
    image_id, ann_ids, phrase = entry.get("image_id"), entry.get("ann_ids", []), entry.get("phrase")
    if not _is_number(image_id):
        raise TaskError("malformed task", f"'image_id' is no whole number ({image_id!r})")
    if not isinstance(ann_ids, list) or not all(map(_is_number, ann_ids)):
        raise TaskError("malformed task", f"'ann_ids' is no list of whole numbers ({ann_ids!r})")
    if not isinstance(phrase, str) or not phrase.strip():
        raise TaskError("empty phrase", f"'phrase' is empty or no text ({phrase!r})")
    try:
        polygons = pack_polygons(entry.get("Polygons"))
    except ValueError as error:
        raise TaskError("bad polygon", f"'Polygons' has {error}") from None
    return Task(
        task_id, image_id, tuple(ann_ids), phrase, parse_structure(entry.get("phrase_structure"), phrase), polygons
    )


def parse_structure(structure: object, phrase: str) -> dict:
    """How a phrase is made up, complete.

    Args:
        structure: the JSON's entry; None or {} where the data set gives no structure.
        phrase: the phrase, then taken for a name.
    Returns:
        ``{name, attributes [text], relation_ids [id], relation_descriptions [[predicate, object]], type}``, where type
        says what makes the region unique: name, attribute (with the name), relation (with the name) or verbose (all).
    Raises:
        TaskError: an entry is of the wrong type.
    """
    if structure is not None and not isinstance(structure, dict):
        raise TaskError("malformed task", f"'phrase_structure' is no dictionary ({structure!r})")
    full = {
        "name": phrase,
        "attributes": [],
        "relation_ids": [],
        "relation_descriptions": [],
        "type": "name",
        **{k: v for k, v in (structure or {}).items() if k in _STRUCTURE and v is not None},
    }
    for key, kind in _STRUCTURE.items():
        if not isinstance(full[key], kind):
            raise TaskError("malformed task", f"'{key}' of 'phrase_structure' is no {kind.__name__} ({full[key]!r})")
    pairs = full["relation_descriptions"]
    if not all(isinstance(p, list) and len(p) == 2 and all(isinstance(t, str) for t in p) for p in pairs):
        raise TaskError("malformed task", f"'relation_descriptions' are no pairs of texts ({pairs!r})")
    if not all(isinstance(text, str) for text in full["attributes"]):
        raise TaskError("malformed task", f"'attributes' are no texts ({full['attributes']!r})")
    # A few thousand different words stand in hundreds of thousands of tasks.
    full["name"], full["type"] = intern(full["name"]), intern(full["type"])
    full["attributes"] = [intern(text) for text in full["attributes"]]
    full["relation_descriptions"] = [[intern(predicate), intern(other)] for predicate, other in pairs]
    return full


_STRUCTURE = {"name": str, "attributes": list, "relation_ids": list, "relation_descriptions": list, "type": str}


def name_of(entry: object) -> str:
    """The id of a task in an entry of whatever type, "" where it has none."""
    task_id = entry.get("task_id") if isinstance(entry, dict) else None
    return task_id if isinstance(task_id, str) else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
