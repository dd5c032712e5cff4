"""Captions of drawn objects: name or synonym, often with its colour and size, in CLIP's manner of speaking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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

    def fits(self, thing: SceneObject) -> bool:
        """Whether the caption is true of ``thing``."""
        return (
            self.kind == thing.kind
            and self.colour in (None, thing.colour)
            and self.size in (None, thing.size)
        )


def caption(thing: SceneObject, synonyms: Sequence[str], rng: np.random.Generator) -> Caption:
    """A random true caption of ``thing``.

    Args:
        synonyms: names of its kind; the first is used half of the time.
    """
    name = synonyms[0] if rng.random() < 0.5 else synonyms[rng.integers(len(synonyms))]
    colour = thing.colour if thing.colour and rng.random() < 0.4 else None
    size = thing.size if thing.is_thing and rng.random() < 0.3 else None
    phrase = " ".join(word for word in (size, colour, name) if word)
    return Caption(_TEMPLATES[rng.integers(len(_TEMPLATES))].format(phrase), thing.kind, colour, size)
