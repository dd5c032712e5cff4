"""A prediction as lines of text: its words with their origin, and its segments."""

from __future__ import annotations

from ...auto_vocabulary.words import Word
from .result import Prediction

NO_WORD = 'no caption names anything, so nothing is looked for. Fix: add words, as in --words "auto, car".'
_CAPTIONS = 3  # that are shown of a word


def listed(result: Prediction) -> str:
    """List the words that were found in an image, if they were not given, and its segments, a line each."""
    parts = [] if result.found is None else [_words(result.found.words)]
    area = result.panoptic.size
    lines = (f"{s.score:.2f}  {100 * s.area / area:5.1f} %  {s.label}" for s in result.segments)
    if result.segments:
        parts.append("\n".join(("score   area   class", *lines)))
    elif result.found is None or result.found.words:
        parts.append("No word was found.")
    return "\n\n".join(parts)


def _words(words: tuple[Word, ...]) -> str:
    """List words with score, share of the picture and the captions that name them."""
    if not words:
        return NO_WORD[0].upper() + NO_WORD[1:]
    return "\n".join(("score  share   word <- cluster: caption", *map(_word, words)))


def _word(word: Word) -> str:
    name = " | ".join(word.synonyms)
    origins = [f"{o.cluster + 1}: {o.caption!r}" for o in word.origins[:_CAPTIONS]]
    more = len(word.origins) - len(origins)
    origins += [f"and {more} more"] if more else []
    return f"{word.score:.2f}  {100 * word.share:5.1f} %  {name} <- {', '.join(origins) or 'given'}"
