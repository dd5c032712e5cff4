"""Memory and files over many vocabularies: ``python -m tests.engine.many_vocabularies 10000``.

Each vocabulary has three names that no other has, and all limits are the real ones. Only the text tower is a stand-in,
so that this takes minutes; its rows have the size of the embedded one.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from torch import Tensor

from zsseg_d2.engine.prediction.predictor import Predictor
from zsseg_d2.modeling.clip import text_classifier


class Sample(NamedTuple):
    """What is kept after a number of vocabularies."""

    vocabularies: int
    megabytes: float
    names: int
    buffers: int
    files: int


def row(embed: object, name: str) -> Tensor:
    """Return the (1, 128) row of a name."""
    generator = torch.Generator().manual_seed(hash(name) % 2**31)
    return torch.nn.functional.normalize(torch.randn(1, 128, generator=generator), dim=-1)


def samples(count: int, folder: Path, every: int) -> Iterator[Sample]:
    """Use `count` vocabularies with a text cache in `folder`, and yield a sample after `every` of them."""
    predictor = Predictor(words="sky, road", options=["MODEL.DEVICE", "cpu", "ZSSEG.TEXT_CACHE", str(folder)])
    classifier, process = predictor.model.text_classifier, psutil.Process()
    for number in range(1, count + 1):
        predictor.words = ["sky", *(f"gadget {number} of kind {kind}" for kind in range(3))]
        rows = predictor.model.text_rows(predictor.classes.vocabulary)
        assert rows.shape[0] >= 4
        if number % every == 0:
            gc.collect()
            files = sum(1 for _ in folder.iterdir())
            kept = len(classifier._names), len(list(classifier.buffers())), files
            yield Sample(number, process.memory_info().rss / 2**20, *kept)


def main(count: int) -> None:
    """Print a line for each tenth of `count` vocabularies."""
    start = time.monotonic()
    text_classifier.compute_text_row = row
    with tempfile.TemporaryDirectory() as folder:
        print("vocabularies     MB   names  buffers   files  seconds")
        for s in samples(count, Path(folder), max(1, count // 10)):
            print(
                f"{s.vocabularies:12}  {s.megabytes:5.0f}  {s.names:6}  {s.buffers:7}  {s.files:6}  "
                f"{time.monotonic() - start:7.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]))
