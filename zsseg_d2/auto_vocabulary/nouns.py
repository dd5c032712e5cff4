"""Noun phrases of captions, with their heads and lemmas; offline, by TextBlob's tagger and lemminflect's dictionary."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..lemmas import singular
from .word_lists import WordLists

_LONGEST = 3  # words of a name
_WORD = re.compile(r"[a-z][a-z'-]*")
_NOUNS = ("NN", "NNS", "NNP", "NNPS")
_ADJECTIVES = ("JJ", "JJR", "JJS")
_VERBS = ("VB", "VBZ", "VBP")


@dataclass(frozen=True)
class NounPhrase:
    """A noun phrase of a caption.

    Attributes:
        text: the phrase without articles, colors and the like; its last word is a lemma.
        head: the lemma of its last word; of a compound such as "traffic light", the whole.
    """

    text: str
    head: str


def noun_phrases(caption: str, lists: WordLists, min_letters: int = 3) -> list[NounPhrase]:
    """Find the noun phrases of a caption that can name a part of a picture.

    Args:
        caption: one text in English.
        lists: see :class:`WordLists`.
        min_letters: least number of letters of a head.

    Returns:
        In the order of the caption; a phrase may occur several times.

    Example:
        >>> from zsseg_d2.auto_vocabulary.word_lists import read_word_lists
        >>> found = noun_phrases("a picture of two golden retrievers near a red fire hydrant", read_word_lists())
        >>> [(phrase.text, phrase.head) for phrase in found]
        [('golden retriever', 'retriever'), ('fire hydrant', 'fire hydrant')]
    """
    found, run = [], []
    for token in [*_tagged(caption, lists), ("", "")]:
        if token[1] in (*_NOUNS, *_ADJECTIVES):
            run.append(token)
            continue
        phrase = _phrase(run, lists)
        if phrase is not None and len(re.sub("[^a-z]", "", phrase.head)) >= min_letters:
            found.append(phrase)
        run = []
    return found


def lemma(noun: str, lists: WordLists) -> str:
    """Return the singular of a noun, which may be the last of several words.

    Example:
        >>> from zsseg_d2.auto_vocabulary.word_lists import read_word_lists
        >>> [lemma(word, read_word_lists()) for word in ("buses", "bus", "wolves", "leaves", "traffic lights")]
        ['bus', 'bus', 'wolf', 'leaf', 'traffic light']
    """
    *first, last = noun.split(" ")
    return " ".join((*first, lists.lemmas.get(last) or singular(last)))


def _tagged(caption: str, lists: WordLists) -> list[tuple[str, str]]:
    """Return words and Penn tags: loops ("bald bald") collapsed, compounds joined, and some tags mended."""
    tagged: list[tuple[str, str]] = []
    for word, tag in _tags(caption.lower()):
        if not tagged or word != tagged[-1][0]:
            tagged.append((word, tag))
    return _mended(_joined(tagged, lists))


@lru_cache(maxsize=2**12)
def _tags(caption: str) -> tuple[tuple[str, str], ...]:
    from textblob.en import tag  # imports NLTK

    return tuple((str(word), str(kind)) for word, kind in tag(caption))


def _joined(tagged: Sequence[tuple[str, str]], lists: WordLists) -> list[tuple[str, str]]:
    """Make compounds, also in the plural, one noun each."""
    longest = max((name.count(" ") + 1 for name in lists.compounds), default=1)
    result, start = [], 0
    while start < len(tagged):
        for length in range(min(longest, len(tagged) - start), 1, -1):
            words = [word for word, _ in tagged[start : start + length]]
            name = lemma(" ".join(words), lists)
            if name in lists.compounds or " ".join(words) in lists.compounds:
                result.append((name if name in lists.compounds else " ".join(words), "NN"))
                start += length
                break
        else:
            result.append(tagged[start])
            start += 1
    return result


def _mended(tagged: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Read what follows an article or number and is followed by no noun as a noun: "an orange on", "two leaves"."""
    result = list(tagged)
    for k, (word, tag) in enumerate(tagged):
        after = tagged[k + 1][1] if k + 1 < len(tagged) else ""
        before = result[k - 1][1] if k else ""
        if tag in (*_ADJECTIVES, *_VERBS) and before in ("DT", "CD") and after not in (*_NOUNS, *_ADJECTIVES):
            result[k] = (word, "NN")
    return result


def _phrase(run: Sequence[tuple[str, str]], lists: WordLists) -> NounPhrase | None:
    """Make a phrase of adjectives and nouns, if the last of the nouns can be a name."""
    words = list(run)
    while words and words[-1][1] in _ADJECTIVES:
        words.pop()
    if not words:
        return None
    last = words[-1][0]
    head = last if last in lists.compounds else lemma(last, lists)
    nameless = lists.stop | (lists.colors - lists.colored_things)
    if head in nameless or last in nameless or not all(map(_WORD.fullmatch, head.split(" "))):
        return None
    if head in lists.compounds:
        return NounPhrase(head, head)
    left_out = lists.stop | lists.modifiers | lists.colors
    before = [w for w, _ in words[:-1] if w not in left_out and _WORD.fullmatch(w) and w not in lists.compounds]
    return NounPhrase(" ".join((*before[1 - _LONGEST :], head)), head)
