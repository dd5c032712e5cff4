"""The subsets of PhraseCut by which scores are broken down, named and bounded as in the official tools.

``utils/subset.py`` of ChenyunWu/PhraseCutDataset, commit 876bcc5. A task is in several of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .subset_words import ATTRIBUTE_KINDS, COCO_NAMES, STUFF_NAMES


@dataclass(frozen=True)
class TaskFacts:
    """What decides about subsets; None where it is not known, which leaves the subsets out."""

    name: str  # the category
    attributes: tuple[str, ...]
    relations: int  # relation descriptions
    kind: str  # of the phrase: name, attribute, relation or verbose
    category_rank: int | None  # 0: most frequent in the data set
    attribute_rank: int | None  # of the most frequent attribute
    instances: int | None  # that the phrase refers to
    size: float  # pixels of the truth / pixels of the image
    in_coco: bool | None  # the image is one of COCO


_UNKNOWN_CATEGORY, _UNKNOWN_ATTRIBUTE = 501, 201  # the official ranks of words that are not counted


def _rank(low: float, high: float) -> Callable[[int | None], bool]:
    return lambda rank: rank is not None and low <= rank < high


SUBSETS: dict[str, Callable[[TaskFacts], bool]] = {
    "c_coco": lambda t: t.name in COCO_NAMES,
    **{
        name: lambda t, within=_rank(*bounds): within(t.category_rank)
        for name, bounds in {
            "c20": (0, 20),
            "c100": (0, 100),
            "c500": (0, 500),
            "c21-100": (20, 100),
            "c101-500": (100, 500),
            "c500+": (500, float("inf")),
        }.items()
    },
    **{
        name: lambda t, within=_rank(*bounds): within(t.instances)
        for name, bounds in {"i_single": (1, 2), "i_multi": (2, 5), "i_many": (5, float("inf"))}.items()
    },
    # What makes the region unique among Visual Genome's boxes: p_name, p_att+, p_rel+; nothing does: p_verbose.
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
    **{
        name: lambda t, within=_rank(*bounds): within(t.attribute_rank)
        for name, bounds in {
            "a20": (0, 20),
            "a100": (0, 100),
            "a200": (0, 200),
            "a21-100": (20, 100),
            "a101-200": (100, 200),
            "a200+": (200, float("inf")),
        }.items()
    },
    **{
        name: lambda t, words=words: any(attribute in words for attribute in t.attributes)
        for name, words in ATTRIBUTE_KINDS.items()
    },
    "d_cocotv": lambda t: t.in_coco is True,
    "d_notcocotv": lambda t: t.in_coco is False,
}
"""A task belongs to a subset by category (c), instances (i), phrase (p), type (t), size (s), attributes (a), image (d)."""


class SubsetFinder:
    """Tasks -> their subsets."""

    def __init__(self, word_counts: Mapping[str, Mapping[str, int]] | None = None) -> None:
        """
        Args:
            word_counts: ``{"cat": {word: count}, "att": …}``, frequent ones first, see
                :func:`zsseg_d2.data.phrasecut.folder.load_word_counts`; None: no subsets by frequency.
        """
        self._ranks = None
        if word_counts is not None:
            self._ranks = {key: {word: n for n, word in enumerate(word_counts[key])} for key in ("cat", "att")}

    def __call__(self, record: Mapping, size: float) -> list[str]:
        """Names of the subsets, in the order of :data:`SUBSETS`.

        Args:
            record: a task; ``phrase_structure``, ``polygons`` (or ``num_instances``) and ``coco_id`` are read.
            size: pixels of the truth / pixels of the image.
        """
        facts = self.facts(record, size)
        return [name for name, belongs in SUBSETS.items() if belongs(facts)]

    def facts(self, record: Mapping, size: float) -> TaskFacts:
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
