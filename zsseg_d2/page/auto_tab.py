"""The tab without words: those of an image are found in it, and the visitor may add some or leave some out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from ..data.synthetic import CITY, render_scene
from ..engine.errors import ConfigError
from ..engine.prediction.auto_words import AUTO, parse_auto
from ..engine.prediction.entries import word_entries
from ..engine.prediction.predictor import Predictor
from .found import Found
from .tabs import Example, TextBox
from .words_tab import MOST_NAMES, shown

_SCENES = (10_003, 10_011, 10_040)
_EXAMPLES = ("", "traffic cone, -sky", "")


class AutoTab:
    """Panoptic segmentation with the words that are found in the image.

    Args:
        predictor: of ``words="auto"``.
        about: one sentence about the model, in Markdown.
    """

    name, title = "auto", "No words"

    def __init__(self, predictor: Predictor, about: str) -> None:
        self.predictor, self.about = predictor, about
        self.max_pixels = predictor.cfg.INPUT.MAX_PIXELS
        self.box = TextBox(
            label="Words to add, or to leave out",
            placeholder="traffic cone, -sky",
            help="May be empty: the words are found in the image. Others are added between commas, and a minus before "
            "a word leaves it out.",
            most=20_000,
        )

    def examples(self) -> Sequence[Example]:
        """Render street scenes."""
        return [Example(render_scene(CITY, seed).image, words) for seed, words in zip(_SCENES, _EXAMPLES)]

    def find(self, image: Path, text: str) -> Found:
        """Find the words of an image and its segments; see :meth:`zsseg_d2.page.tabs.Tab.find`."""
        words = f"{AUTO}, " + text.replace("\n", ",")
        request = parse_auto(words)
        names = len(request.added.vocabulary.rows) if request and request.added else 0
        if names > MOST_NAMES:
            raise ConfigError(f"There are {names:,} names. Fix: give at most {MOST_NAMES:,} at once.")
        prediction = self.predictor.with_words(words)(image)
        entries = word_entries(prediction)
        if not entries:
            raise ConfigError("No caption of this image names anything. Fix: add words of your own.")
        found = shown(prediction)
        return replace(found, content={**found.content, "words": msgspec.to_builtins(entries)})
