"""Pixels of words and of true classes, and the scores of words that a mapping gives to classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..panoptic.mean_iou import PixelCounts, class_iou


@dataclass(frozen=True)
class WordCounts:
    """What is counted of an image.

    Attributes:
        words: n.
        pixels: (n + 1, K + 1) int64; of each word and each true class. The last row is pixels of no word, the last
            column void.
        given: counts of the map with the given names; None if there is none.
    """

    words: tuple[str, ...]
    pixels: np.ndarray
    given: PixelCounts | None = None

    @property
    def truth(self) -> np.ndarray:
        """(K,) pixels of each true class."""
        return self.pixels[:, :-1].sum(0)


def count_words(
    ids: np.ndarray,
    segments: Sequence[Mapping],
    found: np.ndarray,
    words: Sequence[str],
    num_classes: int,
    given: PixelCounts | None = None,
) -> WordCounts:
    """Count the pixels of an image.

    Args:
        ids: (H, W) segment ids of the truth; ids that are not in `segments` are void.
        segments: ``{id, category_id}`` of each segment, crowds included, category ids in [0, K).
        found: (H, W) position of each pixel's word in `words`; -1 for none.
        words: n, distinct.
        num_classes: K.
        given: see :class:`WordCounts`.

    Raises:
        ValueError: the maps differ in size, two words are the same, or a pixel has a word that is not there.
    """
    if ids.shape != found.shape:
        raise ValueError(f"the map of words has {found.shape} pixels, the annotation {ids.shape}")
    if len(set(words)) < len(words):
        raise ValueError(f"two words are the same: {sorted(words)}")
    if found.size and not -1 <= found.min() <= found.max() < len(words):
        raise ValueError(f"the map of words has the values {found.min()} to {found.max()}, but {len(words)} words")
    present, inverse = np.unique(ids, return_inverse=True)
    class_of = {int(s["id"]): int(s["category_id"]) for s in segments}
    truth = np.array([class_of.get(int(i), num_classes) for i in present], dtype=np.int64)[inverse.reshape(-1)]
    rows = np.where(found < 0, len(words), found).reshape(-1).astype(np.int64)
    size = (len(words) + 1) * (num_classes + 1)
    pixels = np.bincount(rows * (num_classes + 1) + truth, minlength=size)
    return WordCounts(tuple(words), pixels.reshape(len(words) + 1, num_classes + 1), given)


def pixels_by_word(images: Iterable[WordCounts]) -> dict[str, np.ndarray]:
    """Sum the pixels (K,) of each word over images, without void."""
    total: dict[str, np.ndarray] = {}
    for image in images:
        for word, row in zip(image.words, image.pixels):
            total[word] = total[word] + row[:-1] if word in total else row[:-1].copy()
    return total


def mapped_iou(by_word: Mapping[str, np.ndarray], truth: np.ndarray, mapping: Mapping[str, int | None]) -> np.ndarray:
    """Compute the intersection over union of each class; words without a class are predictions of none.

    Args:
        by_word: see :func:`pixels_by_word`.
        truth: (K,) pixels of each true class.
        mapping: the class of a word.

    Returns:
        (K,) in percent, NaN for a class that is in neither map.
    """
    both, predicted = np.zeros_like(truth), np.zeros_like(truth)
    for word, pixels in by_word.items():
        if (k := mapping.get(word)) is not None:
            both[k] += pixels[k]
            predicted[k] += pixels.sum()
    return class_iou(PixelCounts(both, truth, predicted))


def soft_iou(
    by_word: Mapping[str, np.ndarray], truth: np.ndarray, words: Sequence[str], similarity: np.ndarray
) -> np.ndarray:
    """Compute the soft Jaccard index: each pixel belongs to each class as far as its word is similar to the name.

    With prediction p in [0, 1] and truth t in {0, 1}, Σ min(p, t) / Σ max(p, t) over pixels.

    Args:
        by_word: see :func:`pixels_by_word`.
        truth: (K,) pixels of each true class.
        words: n, all that `by_word` has.
        similarity: (n, K); negative ones count as 0, and at most 1.

    Returns:
        (K,) in percent, NaN for a class that is in neither map.
    """
    degree = similarity.clip(0, 1)
    inside, outside = np.zeros(len(truth)), np.zeros(len(truth))
    for row, word in zip(degree, words):
        pixels = by_word[word]
        inside += row * pixels
        outside += row * (pixels.sum() - pixels)
    union = truth + outside
    return np.divide(100 * inside, union, out=np.full(len(union), np.nan), where=union > 0)


@dataclass(frozen=True)
class WordQuality:
    """How well the words of images name what is there, as shares in percent; NaN where nothing counts."""

    recall: float
    precision: float
    area: float


def word_quality(
    images: Iterable[WordCounts], mapping: Mapping[str, int | None], least_share: float = 0.01
) -> WordQuality:
    """Compare the words of each image with its true classes, and sum over images.

    * recall: of the classes with at least a part `least_share` of an image, those that a word of the image means.
    * precision: of an image's words, those that mean a class of that image, of any size. Words that mean no class are
      wrong; a word with more void than annotated pixels is left out, as such segments are in panoptic quality.
    * area: of the annotated pixels, those whose class a word of the image means.

    Args:
        images: their counts.
        mapping: the class of a word.
        least_share: see recall.
    """
    wanted = named = words = right = annotated = covered = 0
    for image in images:
        truth = image.truth
        classes = {k for word in image.words if (k := mapping.get(word)) is not None}
        large = np.flatnonzero(truth >= max(1, least_share * image.pixels.sum()))
        wanted, named = wanted + len(large), named + sum(int(k) in classes for k in large)
        annotated, covered = annotated + int(truth.sum()), covered + sum(int(truth[k]) for k in classes)
        for word, row in zip(image.words, image.pixels):
            if row[-1] <= row[:-1].sum():
                k = mapping.get(word)
                words, right = words + 1, right + (k is not None and bool(truth[k]))
    return WordQuality(
        *(100 * a / b if b else np.nan for a, b in ((named, wanted), (right, words), (covered, annotated)))
    )
