"""Prompts around phrases, and negative phrases, which do not describe the image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

_SHUFFLE = ("a photo of a {}.", "a photograph of a {}.", "an image of a {}.", "{}.")
PROMPTS: dict[str, tuple[str, ...]] = {
    "plain": ("{}",),
    "fixed": ("a photo of a {}.",),
    "shuffle": _SHUFFLE,
    "shuffle+": (
        *_SHUFFLE,
        "a cropped photo of a {}.",
        "a good photo of a {}.",
        "a photo of one {}.",
        "a bad photo of a {}.",
        "a photo of the {}.",
    ),
}
"""CLIPSeg's lists of templates, under its names; one is drawn for each phrase."""


def prompt_templates(name: str) -> tuple[str, ...]:
    """Return the templates of a list of `PROMPTS`.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in PROMPTS:
        raise ValueError(f"There are no prompts '{name}'; choose one of {', '.join(PROMPTS)}.")
    return PROMPTS[name]


class NegativePhrases:
    """Phrases of a dataset that describe other images only.

    Args:
        records: of tasks, see :func:`zsseg_d2.data.phrasecut.dataset.load_phrasecut`.
    """

    def __init__(self, records: Iterable[dict]) -> None:
        self._of_image: dict[int, set[str]] = defaultdict(set)
        for record in records:
            self._of_image[record["image_id"]].add(record["phrase"])
        # Sorted, because the order of a set of strings changes from process to process.
        self._phrases = sorted(set().union(*self._of_image.values()))

    def __len__(self) -> int:
        return len(self._phrases)

    def draw(self, image_id: int) -> str | None:
        """Draw a phrase that does not describe this image by ``numpy.random``; None if there is none."""
        used = self._of_image.get(image_id, set())
        if len(used) < len(self._phrases):
            for _ in range(20):
                phrase = self._phrases[np.random.randint(len(self._phrases))]
                if phrase not in used:
                    return phrase
        others = [phrase for phrase in self._phrases if phrase not in used]
        return others[np.random.randint(len(others))] if others else None
