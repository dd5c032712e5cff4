"""A sheet of views, their phrases, and what each phrase means."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from .miniphrases import SPLIT_SEEDS
from .phrase_scenes import render_view
from .phrases import make_phrases

_CAPTION = 16  # pixels below an image


def phrase_sheet(seed: int = 0, side: int = 256, rows: int = 4) -> Image.Image:
    """Return a sheet of views like those of MiniPhrases with their phrases; what a phrase does not mean is dark."""
    most = 6
    sheet = Image.new("RGB", ((most + 1) * side, rows * (side + _CAPTION)), "white")
    ink = ImageDraw.Draw(sheet)
    for row in range(rows):
        number = seed * 1_000_000 + SPLIT_SEEDS["train"] + row
        view = render_view(number, side)
        tiles = [("", np.ones(view.index.shape, bool))]
        for phrase in make_phrases(view, np.random.default_rng(number), most):
            tiles.append((phrase.text, np.isin(view.index, sum(phrase.instances, ()))))
        for column, (text, mask) in enumerate(tiles):
            image = np.where(mask[..., None], view.image, view.image // 4)
            place = (column * side, row * (side + _CAPTION))
            sheet.paste(Image.fromarray(image), place)
            ink.text((place[0] + 3, place[1] + side + 2), text, fill="black")
    return sheet
