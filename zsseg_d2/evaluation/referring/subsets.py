"""PhraseCut's subsets, by which scores are broken down, with the official names and bounds.

Source: ``utils/subset.py`` of ChenyunWu/PhraseCutDataset, commit 876bcc5. A task belongs to several subsets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from .subset_words import ATTRIBUTE_KINDS, COCO_NAMES, STUFF_NAMES


@dataclass(frozen=True)
class TaskFacts:
    """Hold what decides about the subsets of a task; an unknown fact (None) excludes it from those subsets."""

    name: str  # the category
    attributes: tuple[str, ...]
    relations: int  # relation descriptions
    kind: str  # of the phrase: name, attribute, relation or verbose
    category_rank: int | None  # 0: most frequent in the dataset
    attribute_rank: int | None  # of the most frequent attribute
    instances: int | None  # instances that the phrase refers to
    size: float  # pixels of the ground truth / pixels of the image
    in_coco: bool | None  # the image is also in COCO


_UNKNOWN_CATEGORY, _UNKNOWN_ATTRIBUTE = 501, 201  # the official ranks of uncounted words


Belongs = Callable[[TaskFacts], bool]


def _between(fact: str, low: float, high: float = float("inf")) -> Belongs:
    """Test whether a numeric fact is known and in [low, high)."""

    def belongs(task: TaskFacts) -> bool:
        value = getattr(task, fact)
        return value is not None and low <= value < high

    return belongs


def _has_attribute(words: Collection[str]) -> Belongs:
    return lambda task: any(attribute in words for attribute in task.attributes)


SUBSETS: dict[str, Belongs] = {
    "c_coco": lambda t: t.name in COCO_NAMES,
    "c20": _between("category_rank", 0, 20),
    "c100": _between("category_rank", 0, 100),
    "c500": _between("category_rank", 0, 500),
    "c21-100": _between("category_rank", 20, 100),
    "c101-500": _between("category_rank", 100, 500),
    "c500+": _between("category_rank", 500),
    "i_single": _between("instances", 1, 2),
    "i_multi": _between("instances", 2, 5),
    "i_many": _between("instances", 5),
    # What makes the region unique among Visual Genome's boxes: p_name, p_att+, p_rel+, or nothing: p_verbose.
    "p_name": lambda t: t.kind == "name",
    "p_att": lambda t: len(t.attributes) > 0,
    "p_att+": lambda t: t.kind == "attribute",
    "p_rel": lambda t: t.relations > 0,
    "p_rel+": lambda t: t.kind == "relation",
    "p_verbose": lambda t: t.kind == "verbose",
    "p_attm": lambda t: len(t.attributes) > 1,
    "p_relm": lambda t: t.relations > 1,
    "p_att_rel": lambda t: len(t.attributes) > 0 and t.relations > 0,
    "t_stuff": lambda t: any(word in t.name for word in STUFF_NAMES),
    "t_obj": lambda t: not any(word in t.name for word in STUFF_NAMES),
    "s_small": lambda t: t.size < 0.02,
    "s_mid": lambda t: 0.02 <= t.size <= 0.2,
    "s_large": lambda t: t.size > 0.2,
    # As in the official tools, a phrase without an attribute is in a200+.
    "a20": _between("attribute_rank", 0, 20),
    "a100": _between("attribute_rank", 0, 100),
    "a200": _between("attribute_rank", 0, 200),
    "a21-100": _between("attribute_rank", 20, 100),
    "a101-200": _between("attribute_rank", 100, 200),
    "a200+": _between("attribute_rank", 200),
    **{name: _has_attribute(words) for name, words in ATTRIBUTE_KINDS.items()},
    "d_cocotv": lambda t: t.in_coco is True,
    "d_notcocotv": lambda t: t.in_coco is False,
}
"""By category (c), instances (i), phrase (p), type (t), size (s), attributes (a) and image source (d)."""


class SubsetFinder:
    """Find the subsets of a task.

    >>> record = {"phrase_structure": {"name": "car", "attributes": ["red"], "type": "attribute"}, "num_instances": 1}
    >>> SubsetFinder()(record, size=0.01)
    ['c_coco', 'i_single', 'p_att', 'p_att+', 't_obj', 's_small', 'a_color']
    """

    def __init__(self, word_counts: Mapping[str, Mapping[str, int]] | None = None) -> None:
        """
        Args:
            word_counts: ``{"cat": {word: count}, "att": {word: count}}``, most frequent first, see
                :func:`zsseg_d2.data.phrasecut.folder.load_word_counts`. None: no subsets by frequency.
        """
        self._ranks = None
        if word_counts is not None:
            self._ranks = {key: {word: n for n, word in enumerate(word_counts[key])} for key in ("cat", "att")}

    def __call__(self, record: Mapping, size: float) -> list[str]:
        """Return the names of the subsets of a task, in the order of :data:`SUBSETS`.

        Args:
            record: a task; ``phrase_structure``, ``polygons`` (or ``num_instances``) and ``coco_id`` are read.
            size: pixels of the ground truth / pixels of the image.
        """
        facts = self.facts(record, size)
        return [name for name, belongs in SUBSETS.items() if belongs(facts)]

    def facts(self, record: Mapping, size: float) -> TaskFacts:
        """Collect what decides about the subsets, from the same arguments."""
        structure = record.get("phrase_structure") or {}
        attributes = tuple(structure.get("attributes") or ())
        name = structure.get("name", "")
        category_rank = attribute_rank = None
        if self._ranks is not None:
            category_rank = self._ranks["cat"].get(name, _UNKNOWN_CATEGORY)
            ranks = self._ranks["att"]
            attribute_rank = min((ranks.get(a, _UNKNOWN_ATTRIBUTE) for a in attributes), default=_UNKNOWN_ATTRIBUTE)
            attribute_rank = min(attribute_rank, _UNKNOWN_ATTRIBUTE)
        return TaskFacts(
            name=name,
            attributes=attributes,
            relations=len(structure.get("relation_descriptions") or ()),
            kind=structure.get("type", ""),
            category_rank=category_rank,
            attribute_rank=attribute_rank,
            instances=record.get("num_instances", getattr(record.get("polygons"), "num_instances", None)),
            size=size,
            in_coco=bool(record["coco_id"]) if "coco_id" in record else None,
        )
