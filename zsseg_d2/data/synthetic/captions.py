"""Captions of drawn objects: name or synonym, often with its colour and size, in CLIP's manner of speaking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .claims import POSITIONS, at_position
from .phrases import compose, plural
from .scene import SceneObject

_TEMPLATES = (
    "a photo of a {}.",
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
    "a {}",
    "the {}.",
)


@dataclass(frozen=True)
class Caption:
    """A text and what it claims; ``None`` where it claims nothing."""

    text: str
    kind: str
    colour: str | None
    size: str | None
    position: str | None = None

    def fits(self, thing: SceneObject, place: float = 0.5) -> bool:
        """Return whether the caption is true of ``thing``, or may pass for it.

        Args:
            place: its middle, as a share of the image's width.
        """
        return (
            self.kind == thing.kind
            and self.colour in (None, thing.colour)
            and self.size in (None, thing.size)
            and (self.position is None or at_position(place, self.position) is not False)
        )


def caption(thing: SceneObject, synonyms: Sequence[str], rng: np.random.Generator) -> Caption:
    """Return a random true caption of ``thing``.

    Args:
        synonyms: names of its kind; the first is used half of the time.
    """
    name, colour, size = _words(thing, synonyms, rng)
    phrase = " ".join(word for word in (size, colour, name) if word)
    return Caption(_TEMPLATES[int(rng.integers(len(_TEMPLATES)))].format(phrase), thing.kind, colour, size)


def phrase_caption(thing: SceneObject, place: float, synonyms: Sequence[str], rng: np.random.Generator) -> Caption:
    """Return a caption in the words of MiniPhrases: often with its position, as a plural, or without a sentence.

    Args:
        place: its middle, as a share of the image's width.
    """
    name, colour, size = _words(thing, synonyms, rng)
    true = [position for position in POSITIONS if at_position(place, position)]
    position = true[0] if true and thing.is_thing and rng.random() < 0.3 else None
    if thing.is_thing and (thing.crowd or rng.random() < 0.2):
        name = plural(name)
    phrase = compose(name, [word for word in (colour, size, position) if word], ())
    template = "{}" if rng.random() < 0.6 else _TEMPLATES[int(rng.integers(len(_TEMPLATES)))]
    return Caption(template.format(phrase), thing.kind, colour, size, position)


def _words(thing: SceneObject, synonyms: Sequence[str], rng: np.random.Generator) -> tuple[str, str | None, str | None]:
    """Return name, colour and size, the last two often left out."""
    name = synonyms[0] if rng.random() < 0.5 else synonyms[int(rng.integers(len(synonyms)))]
    colour = thing.colour if thing.colour and rng.random() < 0.4 else None
    return name, colour, thing.size if thing.is_thing and rng.random() < 0.3 else None
