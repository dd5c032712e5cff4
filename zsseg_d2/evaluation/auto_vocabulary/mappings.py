"""Mappings of words to classes that come from elsewhere: a file, or embeddings of texts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from ...class_names import find_class
from ...reading import MB, UnusableFile, printable, read_json

_LIMIT = 64 * MB


class MappingFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The class of each word, null for none; and who or what decided."""

    made_by: str
    words: dict[str, str | None]


def read_mapping(path: str | os.PathLike, classes: Sequence[Sequence[str]]) -> dict[str, int | None]:
    """Read a mapping that a person or a language model made.

    Args:
        path: a JSON file, ``{"made_by": "…", "words": {"taxi": "car", "wheel": null}}``.
        classes: (K,) the names of each class.

    Returns:
        The class of each word in [0, K), or None for no class.

    Raises:
        FileNotFoundError: there is no such file.
        UnusableFile: it has another structure, or names a class that is not there.
    """
    remedy = 'write {"made_by": "…", "words": {"taxi": "car", "wheel": null}}'
    try:
        content = read_json(path, MappingFile, limit=_LIMIT, remedy=remedy)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{printable(path)}: there is no such mapping of words. Fix: check ZSSEG.WORD_MAPPING, or leave it out."
        ) from None
    found: dict[str, int | None] = {}
    for word, name in content.words.items():
        try:
            found[word] = None if name is None else find_class(name, classes, [None] * len(classes))
        except ValueError as error:
            raise UnusableFile(f"{printable(path)}: '{printable(word)}': {error}") from None
    return found


def cosine_similarity(words: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Compute the cosines of text embeddings.

    Args:
        words: (n, E).
        names: (K, E).

    Returns:
        (n, K) float64.
    """
    one, two = (rows.astype(np.float64) for rows in (words, names))
    norms = [np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12) for rows in (one, two)]
    return (one / norms[0]) @ (two / norms[1]).T


def cosine_mapping(words: Sequence[str], similarity: np.ndarray, threshold: float = -np.inf) -> dict[str, int]:
    """Give each word the class with the most similar name, if it is similar enough.

    Args:
        words: n.
        similarity: (n, K).
        threshold: least similarity; without it, each word has a class.

    Example:
        >>> cosine_mapping(["auto", "wheel"], np.array([[0.9, 0.2], [0.4, 0.3]]), 0.8)
        {'auto': 0}
    """
    best = similarity.argmax(1)
    return {word: int(best[i]) for i, word in enumerate(words) if similarity[i, best[i]] >= threshold}


def hard_mapping(words: Sequence[str], names: Sequence[str]) -> Mapping[str, int]:
    """Give a class to the words that are its printed name, letter for letter."""
    position = {name: k for k, name in enumerate(names)}
    return {word: position[word] for word in words if word in position}
