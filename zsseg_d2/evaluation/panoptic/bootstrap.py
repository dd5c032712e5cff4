"""How sure a difference of panoptic quality is: counts of every image in a file, and a bootstrap over the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ...reading import UnusableFile, printable
from ...tensor_files import read_tensors, write_tensors
from .panoptic_counts import PanopticCounts

_PARTS = ("iou", "tp", "fp", "fn")


@dataclass(frozen=True)
class ImageCounts:
    """Counts of I images and K classes, as :class:`PanopticCounts` has them of one.

    Attributes:
        images: Ids of the images, in the order of the rows.
        counts: (4, I, K) float64: sum of IoU, true positives, false positives, false negatives.
    """

    images: tuple[str, ...]
    counts: np.ndarray

    @classmethod
    def of(cls, counts: Mapping[int | str, PanopticCounts]) -> ImageCounts:
        """Collect the counts of images by id."""
        parts = [[getattr(c, part) for c in counts.values()] for part in _PARTS]
        return cls(tuple(map(str, counts)), np.asarray(parts, dtype=np.float64))

    def write(self, path: Path) -> None:
        """Write a safetensors file; its folder must exist."""
        tensors = {part: torch.from_numpy(table) for part, table in zip(_PARTS, self.counts.copy())}
        write_tensors(path, tensors, {"images": list(self.images)})

    @classmethod
    def read(cls, path: Path) -> ImageCounts:
        """Read what :meth:`write` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            UnusableFile: it is damaged, or of something else.
        """
        found = read_tensors(path)
        images, tables = found.rest.get("images"), [found.tensors.get(part) for part in _PARTS]
        shapes = {tuple(table.shape) for table in tables if table is not None}
        rows = len(images) if isinstance(images, list) else -1
        if None in tables or len(shapes) != 1 or next(iter(shapes))[:1] != (rows,) or len(next(iter(shapes))) != 2:
            raise UnusableFile(f"{printable(path)}: holds no counts of images. Fix: evaluate again.")
        stacked = np.stack([table.double().numpy() for table in tables if table is not None])
        return cls(tuple(map(str, images or ())), stacked)


class Interval(NamedTuple):
    """A difference, and the interval that holds 95 % of its bootstrap draws."""

    value: float
    low: float
    high: float


def quality(counts: np.ndarray) -> np.ndarray:
    """Average PQ over the classes that occur.

    Args:
        counts: (4, …, K), summed over images.

    Returns:
        (…) in percent; NaN where no class occurs.
    """
    iou, tp, fp, fn = counts
    weight = tp + fp / 2 + fn / 2
    counted = weight > 0
    of_class = np.divide(100 * iou, weight, out=np.zeros_like(iou), where=counted)
    number = counted.sum(-1)
    return np.divide(of_class.sum(-1), number, out=np.full(number.shape, np.nan), where=number > 0)


def bootstrap_difference(
    one: Sequence[ImageCounts], other: Sequence[ImageCounts], *, draws: int = 1000, seed: int = 0
) -> Interval:
    """Compare two methods on the same images, drawn again and again with replacement (Efron and Tibshirani 1993, 13).

    Args:
        one: A method's counts, of each of its seeds; PQ is averaged over seeds.
        other: The same of the other method; the number of seeds may differ.
        draws: How often as many images as there are, are drawn.
        seed: Of the draws, which are the same for both methods.

    Returns:
        PQ of `one` minus PQ of `other`, in percent.

    Raises:
        ValueError: the methods were not evaluated on the same images.
    """
    images = one[0].images
    order = {name: k for k, name in enumerate(images)}
    if any(set(found.images) != set(images) for found in (*one, *other)):
        raise ValueError("the two methods were not evaluated on the same images")
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(images), np.full(len(images), 1 / len(images)), size=draws).astype(np.float64)
    weights = np.vstack((np.ones((1, len(images))), drawn))  # the first row is the dataset itself

    def mean_quality(of_seeds: Sequence[ImageCounts]) -> np.ndarray:
        found = []
        for of_seed in of_seeds:
            rows = np.argsort([order[name] for name in of_seed.images])
            found.append(quality(np.einsum("di,pik->pdk", weights, of_seed.counts[:, rows])))
        return np.mean(found, axis=0)

    value, *differences = mean_quality(one) - mean_quality(other)
    low, high = np.nanpercentile(differences, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))
