"""The tab of phrases: what a phrase means in an image."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data.images.reading import read_rgb
from ..data.synthetic.phrase_scenes import render_view
from ..data.synthetic.phrases import make_phrases
from ..engine.errors import ConfigError
from ..engine.prediction.phrase_segmentation import PhrasePrediction, segment
from ..engine.prediction.result import encoded
from ..evaluation.referring.phrase_visualization import COLOURS, paint_masks
from ..meta_arch import ReferringSegmentor
from .found import Found, Mark, for_view, map_for_view
from .tabs import Example, TextBox

MOST_PHRASES = 8
"""Phrases of one request; fewer than `zsseg_d2.page.found.MOST_OVERLAPPING`."""

_SCENES = (22, 7, 41)


class PhraseTab:
    """Phrase segmentation.

    Args:
        model: see :func:`zsseg_d2.engine.prediction.phrase_segmentation.build_segmentor`.
        about: one sentence about the model, in Markdown.
        threshold: probability above which a pixel belongs to the mask.
        max_pixels: INPUT.MAX_PIXELS.
    """

    name, title = "phrase", "Phrase"
    box = TextBox(
        label="Phrase",
        placeholder="red car",
        help=f"What to look for. Up to {MOST_PHRASES} phrases, one a line.",
        most=2000,
    )

    def __init__(self, model: ReferringSegmentor, about: str, *, threshold: float, max_pixels: int) -> None:
        self.model, self.about = model, about
        self.max_pixels, self._threshold = max_pixels, threshold
        self._lock = threading.Lock()  # a model computes one image at a time

    def examples(self) -> Sequence[Example]:
        """Render scenes, each with two phrases about it."""
        found = []
        for seed in _SCENES:
            view = render_view(seed)
            phrases = make_phrases(view, np.random.default_rng(seed), most=2)
            found.append(Example(view.image, "\n".join(phrase.text for phrase in phrases)))
        return found

    def find(self, image: Path, text: str) -> Found:
        """Find each phrase; see :meth:`zsseg_d2.page.tabs.Tab.find`."""
        phrases = list(dict.fromkeys(" ".join(line.split()) for line in text.splitlines() if line.strip()))
        if not phrases:
            raise ConfigError("There is no phrase. Fix: type what to look for, such as: red car")
        if len(phrases) > MOST_PHRASES:
            raise ConfigError(f"There are {len(phrases)} phrases. Fix: give at most {MOST_PHRASES} at once.")
        pixels = read_rgb(image, self.max_pixels)
        with self._lock:
            found = segment(self.model, pixels, phrases, threshold=self._threshold)
        return shown(image.stem, pixels, found)


def shown(name: str, image: np.ndarray, found: Sequence[PhrasePrediction]) -> Found:
    """Prepare the masks of N phrases in an (H, W, 3) uint8 image for the page; they may overlap."""
    colors = [COLOURS[k % len(COLOURS)] for k in range(len(found))]
    small = [map_for_view(f.mask) for f in found]
    marks = tuple(
        Mark(f.phrase, f.score, float(f.mask.mean()), "", color, 1 << k, 1 << k)
        for k, (f, color) in enumerate(zip(found, colors))
    )
    codes = sum((mask.astype(np.int32) << k for k, mask in enumerate(small)), np.zeros(small[0].shape, np.int32))

    def overlay() -> Image.Image:
        return Image.fromarray(paint_masks(image, [f.mask for f in found], colors))

    view = Image.fromarray(paint_masks(for_view(image), small, colors))
    return Found(name, view, codes, marks, overlay, _content(name, image, found))


def _content(name: str, image: np.ndarray, found: Sequence[PhrasePrediction]) -> dict[str, Any]:
    """Return the phrases as JSON has them: scores, pixels, and masks as COCO's run-length encoding."""
    height, width = image.shape[:2]
    phrases = [
        {"phrase": f.phrase, "score": round(f.score, 6), "area": int(f.mask.sum()), "segmentation": encoded(f.mask)}
        for f in found
    ]
    return {"image": {"file_name": name, "height": height, "width": width}, "phrases": phrases}
