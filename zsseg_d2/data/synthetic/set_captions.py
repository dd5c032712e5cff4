"""Captions of parts of a scene: what a set of cells shows most of, and what else, in sentences with other nouns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .phrases import plural
from .scene import SceneObject

_ALONE = (
    "{}",
    "{} in the scene",
    "{} in the picture",
    "a photo of {}",
    "a picture of {}",
    "an image of {}",
    "a view of {}",
    "a close up of {}",
    "a part of {}",
    "this is a photo of {}",
    "there is {} in the scene",
    "there is {} in the background",
)
_TOGETHER = ("{}", "{}", "a photo of {}", "a picture of {}", "there is {}", "a view of {}")
_SIDES = ("{} on the left side of the picture", "{} on the right side of the picture")
_GROUND = ("road", "sidewalk", "grass", "dirt", "gravel", "sand", "snow", "water")
_UNCOUNTED = ("vegetation", "grass", "dirt", "gravel", "sand", "snow", "water", "soil", "cattle")
_PLURALS = {"man": "men", "woman": "women", "person": "people", "people": "people", "cattle": "cattle"}
_FIRST_NAME = 0.7
"""Share of captions that use the name of a class and not a synonym."""
_OTHER_DEPTH = 1.3  # ratio of depths from which one thing is said to stand in front of another


@dataclass(frozen=True)
class Part:
    """An object within a set of cells, and its share of their area."""

    thing: SceneObject
    share: float


def set_caption(
    parts: Sequence[Part],
    names: Mapping[str, Sequence[str]],
    place: float,
    rng: np.random.Generator,
    second: float = 0.25,
) -> str:
    """Return a random true caption of a set of cells: lower case, without punctuation.

    Args:
        parts: what the cells show, at least one object.
        names: kind -> synonyms, the usual name first.
        place: middle of the set as a share of the image's width.
        rng: chooses the words.
        second: share of the named area from which a second kind is named too.
    """
    shares: dict[str, float] = {}
    for part in parts:
        shares[part.thing.kind] = shares.get(part.thing.kind, 0.0) + part.share
    total = sum(shares.values())
    kinds = sorted(shares, key=lambda kind: -shares[kind])
    of_kind = {kind: [part for part in parts if part.thing.kind == kind] for kind in kinds}
    first = _noun_phrase(of_kind[kinds[0]], names[kinds[0]], rng)
    if len(kinds) > 1 and shares[kinds[1]] >= second * total:
        other = _noun_phrase(of_kind[kinds[1]], names[kinds[1]], rng)
        between = _relation(of_kind[kinds[0]], of_kind[kinds[1]], rng)
        return _choose(_TOGETHER, rng).format(f"{first} {between} {other}")
    if rng.random() < 0.1 and not 0.4 <= place <= 0.6:
        return _SIDES[int(place > 0.5)].format(first)
    return _choose(_ALONE, rng).format(first)


def _noun_phrase(parts: Sequence[Part], names: Sequence[str], rng: np.random.Generator) -> str:
    """Name the objects of one kind: article, size and colour where they are clear, and name."""
    main = max(parts, key=lambda part: part.share).thing
    clear = max(part.share for part in parts) >= 0.7 * sum(part.share for part in parts)
    name = names[0] if rng.random() < _FIRST_NAME else _choose(names, rng)
    several = main.crowd or not clear
    if main.is_thing and several != _is_plural(name):
        name = _plural(name) if several else names[0]
    colour = main.colour if clear and rng.random() < 0.4 else None
    size = main.size if clear and main.is_thing and rng.random() < 0.15 else None
    phrase = " ".join(word for word in (size, colour, name) if word)
    if rng.random() < 0.3:
        return f"the {phrase}"
    if _is_plural(name) or name in _UNCOUNTED:
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _plural(name: str) -> str:
    return _PLURALS.get(name) or plural(name)


def _is_plural(name: str) -> bool:
    return name in _PLURALS.values() or name.endswith("s") and not name.endswith(("bus", "ss"))


def _relation(first: Sequence[Part], second: Sequence[Part], rng: np.random.Generator) -> str:
    """Return a preposition that is true of two kinds."""
    one, two = first[0].thing, second[0].thing
    if two.kind == "sky":
        return "in" if one.kind in ("kite", "airplane") else "under"
    if two.kind in _GROUND and one.is_thing:
        return "on"
    if rng.random() < 0.4:
        return _choose(("and", "with", "next to", "near"), rng)
    if one.depth * _OTHER_DEPTH < two.depth:
        return "in front of"
    return "behind" if two.depth * _OTHER_DEPTH < one.depth else "next to"


def _choose(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def caption_words(
    names: Mapping[str, Sequence[str]], things: Collection[str], colours: Sequence[str]
) -> tuple[str, ...]:
    """Return every word that :func:`set_caption` can use, sorted.

    Args:
        names: kind -> synonyms.
        things: kinds that can be counted.
        colours: names of colours.
    """
    texts = [*_ALONE, *_TOGETHER, *_SIDES, *colours, "small medium large the a an"]
    texts += [name for synonyms in names.values() for name in synonyms]
    texts += [_plural(name) for kind in things for name in names[kind] if not _is_plural(name)]
    texts.append("in under on and with next to near in front of behind")
    return tuple(sorted({word for text in texts for word in text.replace("{}", "").split()}))
