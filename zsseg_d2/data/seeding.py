"""Random numbers that depend on the image, not on the order of reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def numpy_seed(*entropy: int) -> Iterator[None]:
    """Seed ``numpy.random``, which Detectron2's augmentations use too, and restore its state afterwards."""
    outside = np.random.get_state()
    np.random.seed(np.random.SeedSequence(entropy).generate_state(4))
    try:
        yield
    finally:
        np.random.set_state(outside)


class SeededByImage:
    """Wrap a mapper so that its random numbers depend on the image id alone, and evaluations repeat."""

    def __init__(self, mapper: Callable[[dict], Any]) -> None:
        self.mapper = mapper

    def __call__(self, record: dict) -> Any:
        with numpy_seed(int(record["image_id"])):
            return self.mapper(record)
