"""The tabs of the page: a model, what a visitor types for it, and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from .found import Found


class Example(NamedTuple):
    """An image to click on: (H, W, 3) uint8 RGB, and the text that goes with it."""

    image: np.ndarray
    text: str


@dataclass(frozen=True)
class TextBox:
    """What a visitor types.

    Attributes:
        label: above the box.
        placeholder: shown while it is empty.
        help: one or two sentences.
        most: characters.
    """

    label: str
    placeholder: str
    help: str
    most: int


class Tab(Protocol):
    """A tab; the page shows any number of them.

    Attributes:
        name: of letters and ``_``; names the parts of the page.
        title: what the visitor reads on it.
        about: one sentence about the model, in Markdown.
        box: the text that it asks for.
        max_pixels: of an image (INPUT.MAX_PIXELS).
    """

    name: str
    title: str
    about: str
    box: TextBox
    max_pixels: int

    def examples(self) -> Sequence[Example]:
        """Make the images to click on."""
        ...

    def find(self, image: Path, text: str) -> Found:
        """Find what the text says; visitors call it in several threads.

        Args:
            image: file of any format and size; its name is what the visitor calls it.
            text: of the visitor.

        Raises:
            ConfigError, DatasetError: one sentence for the visitor.
        """
        ...
