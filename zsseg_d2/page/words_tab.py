"""The tab of words: all segments of an image, named by the words of the visitor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..data.synthetic import CITY, render_scene
from ..engine.errors import ConfigError
from ..engine.prediction.predictor import Predictor
from ..engine.prediction.result import Prediction
from ..evaluation.panoptic.overlay import NamedSegment, draw_overlay
from .found import Found, Mark, for_view, map_for_view
from .tabs import Example, TextBox

MOST_NAMES = 2000
"""Names that one request may have, synonyms included: each may cost a pass of CLIP's text encoder."""

_ALL_BITS = 0xFFFFFF
_SCENES = (10_011, 10_040, 10_003)
_STREET = "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation|tree, sky"
_WORDS = (
    f"{_STREET}, person, car|cars|automobile, bus, truck, bicycle",
    "road, sky, building, anything green|tree, vehicle|car|bus|truck",
    "cityscapes",
)


class WordsTab:
    """Panoptic segmentation with the visitor's words.

    Args:
        predictor: its own words are used where the visitor types none.
        about: one sentence about the model, in Markdown.
    """

    name, title = "words", "Words"

    def __init__(self, predictor: Predictor, about: str) -> None:
        self.predictor, self.about = predictor, about
        self.max_pixels = predictor.cfg.INPUT.MAX_PIXELS
        self.box = TextBox(
            label="Words",
            placeholder="road, sidewalk, car|cars|automobile, sky",
            help="Classes between commas, synonyms between bars; (thing) or (stuff) after a word says whether its "
            "instances are told apart. Or the name of a list: coco, ade20k, cityscapes. "
            "auto: words that are found in the image. Empty: the model's own.",
            most=20_000,
        )

    def examples(self) -> Sequence[Example]:
        """Render street scenes."""
        return [Example(render_scene(CITY, seed).image, words) for seed, words in zip(_SCENES, _WORDS)]

    def find(self, image: Path, text: str) -> Found:
        """Find all segments; see :meth:`zsseg_d2.page.tabs.Tab.find`."""
        words = text.replace("\n", ",")
        predictor = self.predictor.with_words(words if words.strip(" ,") else None, files=False)
        names = text.count(",") + text.count("|") if predictor.auto else len(predictor.vocabulary.rows)
        if names > MOST_NAMES:
            raise ConfigError(f"There are {names:,} names. Fix: give at most {MOST_NAMES:,} at once.")
        return shown(predictor(image))


def shown(found: Prediction) -> Found:
    """Prepare a prediction for the page."""
    ids = map_for_view(found.panoptic)
    colors = [found.categories[s.category].color for s in found.segments]
    named = [NamedSegment(s.id, s.label, color, s.score, s.area) for s, color in zip(found.segments, colors)]
    view: Image.Image = draw_overlay(for_view(found.image), ids, named).crop((0, 0, ids.shape[1], ids.shape[0]))
    marks = tuple(
        Mark(s.label, s.score, s.area / found.panoptic.size, "thing" if s.thing else "stuff", color, _ALL_BITS, s.id)
        for s, color in zip(found.segments, colors)
    )
    return Found(found.name, view, ids, marks, found.overlay, found.to_coco(rle=True))
