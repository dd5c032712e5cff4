"""Random numbers that follow from what is read, not from when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def numpy_seed(*entropy: int) -> Iterator[None]:
    """``numpy.random`` (from which Detectron2's augmentations draw too) begins at a seed, and is as before afterwards."""
    outside = np.random.get_state()
    np.random.seed(np.random.SeedSequence(entropy).generate_state(4))
    try:
        yield
    finally:
        np.random.set_state(outside)


class SeededByImage:
    """A mapper whose draws follow from the image's id, so that evaluations repeat."""

    def __init__(self, mapper: Callable[[dict], Any]) -> None:
        self.mapper = mapper

    def __call__(self, record: dict) -> Any:
        with numpy_seed(int(record["image_id"])):
            return self.mapper(record)
