"""Phrases about a view that fit exactly the objects of their truth, as PhraseCut words and structures them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .claims import POSITIONS, RELATIONS, SIZES, Claim, Relation
from .phrase_scenes import CLEAR_SHARE, View, ViewObject

MOST_INSTANCES = 6
_PLURALS = {"person": "people", "sheep": "sheep", "bus": "buses", "bench": "benches", "box": "boxes"}
_STUFF = ("sky", "road", "grass", "water", "sand", "snow", "sidewalk")  # nouns without a plural
_STUFF_CHANCE = 0.35


@dataclass(frozen=True)
class Phrase:
    """A phrase and the objects it means."""

    text: str
    structure: dict  # PhraseCut's phrase_structure without relation_ids
    instances: tuple[tuple[int, ...], ...]  # object indices of each instance; stuff is one instance
    form: str  # "name", "colour", "size", "position", "relation" or "mixed"


def plural(name: str) -> str:
    """Return the plural of a name: "car" -> "cars"."""
    return _PLURALS.get(name, f"{name}s")


def compose(name: str, attributes: Sequence[str], relations: Sequence[Sequence[str]]) -> str:
    """Build the phrase of a structure as PhraseCut does: "on the ..." after the name, other attributes before it."""
    text = name
    for attribute in attributes:
        text = f"{text} {attribute}" if attribute.startswith("on ") else f"{attribute} {text}"
    return " ".join([text, *(f"{predicate} {other}" for predicate, other in relations)])


def make_phrases(view: View, rng: np.random.Generator, most: int = 6) -> list[Phrase]:
    """Return up to `most` phrases about a view, of as many forms as it allows.

    A phrase is singular for one instance and plural for several, no object outside its truth fits it, and no two
    phrases are the same. Phrases that single out some of several objects of a kind come first.
    """
    width = view.index.shape[1]
    found = [(c, truth) for c in _claims(view.objects) if (truth := c.truth(view.objects, width))]
    order = [found[i] for i in rng.permutation(len(found))]
    phrases = [phrase for claim, truth in order if (phrase := _phrase(view, claim, truth, width)) is not None]
    chosen: list[Phrase] = []
    uses, forms = Counter[tuple](), Counter[str]()
    while len(chosen) < most:
        left = [
            (forms[p.form] + 2 * uses[p.instances] + _dullness(p), n, p)
            for n, p in enumerate(phrases)
            if p not in chosen and uses[p.instances] < 2
        ]
        if not left:
            break
        # Forms take turns, and so do regions.
        chosen.append(min(left, key=lambda entry: entry[:2])[2])
        forms[chosen[-1].form] += 1
        uses[chosen[-1].instances] += 1
    stuff = _stuff_phrases(view)
    if stuff and rng.random() < _STUFF_CHANCE:
        chosen = [*chosen[: most - 1], stuff[rng.integers(len(stuff))]]
    return chosen


def _dullness(phrase: Phrase) -> int:
    """Return how late a phrase comes: later if its name says everything, earlier if it has several instances."""
    return 3 * (phrase.structure["type"] == "name") - 2 * (len(phrase.instances) > 1)


def _claims(objects: Sequence[ViewObject]) -> Iterator[Claim]:
    """Yield every possible claim about the things of a view."""
    things = [o for o in objects if o.is_thing and o.clear and o.kind != "rider"]
    counts = Counter("person" if o.kind == "rider" else o.kind for o in objects)
    unique = [o for o in things if counts[o.kind] == 1 and not o.crowd]
    for kind in sorted({o.kind for o in things}):
        same = [o for o in things if o.kind == kind]
        colours = sorted({o.colour for o in same if o.colour})
        relations = [Relation(p, o) for o in unique if o.kind != kind for p in RELATIONS]
        yield Claim(kind)
        for colour in [None, *colours]:
            claim = Claim(kind, colour)
            if colour:
                yield claim
            yield from (replace(claim, size=size) for size in SIZES)
            yield from (replace(claim, position=position) for position in POSITIONS)
            yield from (replace(claim, relation=relation) for relation in relations)


def _phrase(view: View, claim: Claim, truth: tuple[int, ...], width: int) -> Phrase | None:
    """Return the wording of a claim; None for one that says more than it needs."""
    bare, related = Claim(claim.kind), Claim(claim.kind, relation=claim.relation)
    attributed = replace(claim, relation=None)
    kind = (
        "name"
        if bare.truth(view.objects, width) == truth
        else "attribute"
        if claim.attributes and attributed.truth(view.objects, width) == truth
        else "relation"
        if claim.relation and related.truth(view.objects, width) == truth
        else "verbose"
    )
    parts = len(claim.attributes) + (claim.relation is not None)
    if len(truth) > MOST_INSTANCES or (parts > 1 and not _needs_all(view, claim, truth, width)):
        return None
    several = len(truth) > 1 or any(o.crowd for o in view.objects if o.index in truth)
    name = plural(claim.kind) if several else claim.kind
    relations = [[claim.relation.predicate, claim.relation.other.kind]] if claim.relation else []
    structure = {
        "name": name,
        "attributes": list(claim.attributes),
        "relation_descriptions": relations,
        "type": kind,
    }
    form = (
        "mixed"
        if parts > 1
        else next((form for form in ("colour", "size", "position", "relation") if getattr(claim, form)), "name")
    )
    return Phrase(compose(name, claim.attributes, relations), structure, tuple((i,) for i in truth), form)


def _needs_all(view: View, claim: Claim, truth: tuple[int, ...], width: int) -> bool:
    """Return whether leaving out any part of the claim makes it fit other objects."""
    parts = [part for part in ("colour", "size", "position", "relation") if getattr(claim, part)]
    removed: list[dict[str, Any]] = [{part: None} for part in parts]
    shorter = [replace(claim, **change) for change in removed]
    return all(c.truth(view.objects, width) != truth for c in shorter)


def _stuff_phrases(view: View) -> list[Phrase]:
    phrases = []
    for kind in _STUFF:
        indices = tuple(o.index for o in view.objects if o.kind == kind)
        if np.isin(view.index, indices).sum() >= 4 * CLEAR_SHARE * view.index.size:
            structure = {"name": kind, "attributes": [], "relation_descriptions": [], "type": "name"}
            phrases.append(Phrase(kind, structure, (indices,), "name"))
    return phrases
