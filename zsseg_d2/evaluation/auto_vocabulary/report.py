"""Report of an auto-vocabulary: one row per mapping of words to classes, and the published table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add

import numpy as np
from tabulate import tabulate

from ..completeness import versions
from ..panoptic.mean_iou import class_iou
from .mappings import cosine_mapping, cosine_similarity, hard_mapping
from .relations import LEVELS, ClassFinder, levels_of, packaged_relations
from .word_counts import WordCounts, mapped_iou, pixels_by_word, soft_iou, word_quality

PUBLISHED = {
    "AutoSeg": (87.1, 11.7, 6.0, 30.0),
    "LLaVA + X-Decoder": (56.7, 11.4, None, 23.4),
    "SAM + BLIP + X-Decoder": (41.1, 11.3, None, 27.4),
    "X-Decoder, given names": (96.2, 16.1, 6.4, 50.8),
}
"""mIoU under LAVE as published (arXiv 2312.04539), on :data:`PUBLISHED_DATASETS`."""

PUBLISHED_DATASETS = ("VOC", "PC-459", "ADE-847", "Cityscapes")
"""Pascal VOC, Pascal Context with 459 classes, ADE20K with 847, Cityscapes."""
_COLUMNS = ("mIoU", "ratio", "recall", "precision", "area")


def auto_vocabulary_report(
    images: Sequence[WordCounts],
    classes: Sequence[Sequence[str]],
    *,
    mapping: Mapping[str, int | None] | None = None,
    embed: Callable[[Sequence[str]], np.ndarray] | None = None,
    threshold: float = 0.9,
    least_share: float = 0.01,
) -> dict:
    """Score the words of images under each mapping.

    Args:
        images: counts of all images.
        classes: (K,) the names of each class.
        mapping: made elsewhere: the class of each word, None for no class.
        embed: n texts to (n, E) embeddings.
        threshold: least cosine of the mapping by cosine.
        least_share: see :func:`zsseg_d2.evaluation.auto_vocabulary.word_counts.word_quality`.

    Returns:
        * ``mappings``: by name (``exact``, ``synonym``, ``hyponym``, ``meronym``, ``file``, ``cosine``),
          ``{mIoU, ratio, recall, precision, area}`` in percent, ``words`` with a class, and ``per_class`` IoU.
        * ``given``: mIoU with the given names, NaN if the model has no such map; ``ratio`` is relative to it.
        * ``jaccard``: mIoU ``hard`` (words that equal a class name), ``soft`` and ``nearest`` (Conti et al. 2024).
        * ``num_images``, ``distinct_words``, ``words_per_image``; ``words``: class and level of each word and its
          pixels; ``relations``: version of the relations; ``without_class_in_file``: words that the file lacks.
    """
    names = [of_class[0] for of_class in classes]
    by_word = pixels_by_word(images)
    words = sorted(by_word)
    truth = np.sum([image.truth for image in images], axis=0)
    finder = ClassFinder(classes)
    mappings: dict[str, Mapping[str, int | None]] = {level: finder.mapping(words, level) for level in LEVELS}
    if mapping is not None:
        mappings["file"] = {word: mapping.get(word) for word in words}
    jaccard = {"hard": _mean(mapped_iou(by_word, truth, hard_mapping(words, names)))}
    if embed is not None and words:
        similarity = cosine_similarity(embed(words), embed(names))
        mappings["cosine"] = cosine_mapping(words, similarity, threshold)
        jaccard["soft"] = _mean(soft_iou(by_word, truth, words, similarity))
        jaccard["nearest"] = _mean(mapped_iou(by_word, truth, cosine_mapping(words, similarity)))
    given = _given(images)
    rows = {}
    for name, found in mappings.items():
        iou, quality = mapped_iou(by_word, truth, found), word_quality(images, found, least_share)
        rows[name] = {
            "mIoU": _mean(iou),
            "ratio": 100 * _mean(iou) / given if given else math.nan,
            "recall": quality.recall,
            "precision": quality.precision,
            "area": quality.area,
            "words": sum(k is not None for k in found.values()),
            "per_class": dict(zip(names, iou.tolist())),
        }
    details = levels_of(finder, words, names)
    return {
        "num_images": len(images),
        "mappings": rows,
        "given": given,
        "jaccard": jaccard,
        "distinct_words": len(words),
        "words_per_image": sum(len(image.words) for image in images) / len(images),
        "words": {word: {"pixels": int(by_word[word].sum()), "meaning": details[word]} for word in words},
        "without_class_in_file": [] if mapping is None else [word for word in words if word not in mapping],
        "relations": packaged_relations().version,
        "threshold": threshold,
        "versions": versions(),
    }


def flat_scores(report: Mapping) -> dict[str, float]:
    """Return the numbers of a report under flat names: ``mIoU_exact``, ``recall_hyponym``, …, ``mIoU_given``."""
    scores = {f"{column}_{name}": row[column] for name, row in report["mappings"].items() for column in _COLUMNS}
    scores |= {f"jaccard_{name}": value for name, value in report["jaccard"].items()}
    return scores | {
        "mIoU_given": report["given"],
        "distinct_words": float(report["distinct_words"]),
        "words_per_image": report["words_per_image"],
    }


def format_report(report: Mapping) -> str:
    """Make tables of a report: the scores of each mapping, further numbers, and the published figures."""
    rows = [
        [name, *(_number(row[column]) for column in _COLUMNS), row["words"]] for name, row in report["mappings"].items()
    ]
    rows.append(["given names", _number(report["given"]), *[""] * 5])
    scores = tabulate(
        rows, headers=["words to classes", *_COLUMNS, "words"], colalign=("left", *["right"] * 6), disable_numparse=True
    )
    jaccard = ", ".join(f"{name} {_number(value)}" for name, value in report["jaccard"].items())
    lines = [
        scores,
        f"Jaccard: {jaccard}. {report['distinct_words']} distinct words, "
        f"{report['words_per_image']:.1f} per image; {report['relations']} is the version of the relations.",
    ]
    if report["without_class_in_file"]:
        lines.append(f"Words that the mapping file lacks: {', '.join(report['without_class_in_file'])}.")
    return "\n".join([*lines, "As published, mIoU under LAVE:", published_table()])


def published_table() -> str:
    """Make a table of :data:`PUBLISHED`."""
    rows = [[name, *("-" if v is None else f"{v:.1f}" for v in values)] for name, values in PUBLISHED.items()]
    return tabulate(
        rows, headers=["as published", *PUBLISHED_DATASETS], colalign=("left", *["right"] * 4), disable_numparse=True
    )


def _given(images: Sequence[WordCounts]) -> float:
    counts = [image.given for image in images if image.given is not None]
    return _mean(class_iou(reduce(add, counts))) if len(counts) == len(images) else math.nan


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
