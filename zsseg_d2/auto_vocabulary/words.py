"""Words of an image: what the captions of its clusters name, without near-duplicates, each with its origin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..vocabulary import Vocabulary
from .clusters import Clusters
from .nouns import lemma, noun_phrases
from .word_lists import WordLists


@dataclass(frozen=True)
class WordSettings:
    """Which words are kept (MODEL.AUTO_VOCABULARY).

    Attributes:
        min_letters: of a noun.
        min_share: least share of the picture that the clusters of a word have.
        min_score: least score of a word.
    """

    min_letters: int = 3
    min_share: float = 0.0
    min_score: float = 0.0


@dataclass(frozen=True)
class Origin:
    """Where a word was found.

    Attributes:
        cluster: its number, from 0, the largest cluster first.
        caption: the first caption of the cluster that names it.
        named: share of the cluster's captions that name it.
        share: share of the picture that the cluster has.
    """

    cluster: int
    caption: str
    named: float
    share: float


@dataclass(frozen=True)
class Word:
    """A word of an image, to be looked for as a class.

    Attributes:
        name: what is shown.
        synonyms: all that its captions call it; the name comes first.
        origins: the clusters whose captions name it, the largest first; none for a word that the user added.
        score: of the best of its clusters: share of its captions that name the word, times the mean share of the
            clusterings that agree on a cell of it. 1 for a word that the user added.
        thing: whether instances are told apart.
    """

    name: str
    synonyms: tuple[str, ...]
    origins: tuple[Origin, ...]
    score: float
    thing: bool

    @property
    def share(self) -> float:
        """Share of the picture that the clusters of the word have."""
        return sum(origin.share for origin in self.origins)


@dataclass
class _Kind:
    """What the captions of an image say about one kind of thing."""

    said: Counter[str] = field(default_factory=Counter)
    heads: dict[str, str] = field(default_factory=dict)
    named: dict[int, list[int]] = field(default_factory=dict)  # cluster -> captions


def find_words(
    captions: Sequence[Sequence[str]], clusters: Clusters, lists: WordLists, settings: WordSettings
) -> tuple[Word, ...]:
    """Collect the words of an image.

    Phrases of one head are one word ("golden retriever" and "retriever"), and so are known synonyms.

    Args:
        captions: (N, passes) texts of each cluster.
        clusters: N clusters.
        lists: see :class:`WordLists`.
        settings: which words are kept.

    Returns:
        The surest words first; empty if no caption names anything.
    """
    kinds: dict[str, _Kind] = {}
    for cluster, texts in enumerate(captions):
        for number, text in enumerate(texts):
            for phrase in noun_phrases(text, lists, settings.min_letters):
                kind = kinds.setdefault(lists.kind_of(phrase.head), _Kind())
                kind.said[phrase.text] += 1
                kind.heads[phrase.text] = phrase.head
                numbers = kind.named.setdefault(cluster, [])
                if number not in numbers:
                    numbers.append(number)
    words = [_word(name, kind, captions, clusters, lists) for name, kind in kinds.items()]
    kept = [word for word in words if word.share >= settings.min_share and word.score >= settings.min_score]
    return tuple(sorted(kept, key=lambda word: (-word.score, -word.share, word.name)))


def _word(kind_name: str, kind: _Kind, captions: Sequence[Sequence[str]], clusters: Clusters, lists: WordLists) -> Word:
    said = sorted(kind.said, key=lambda text: (-kind.said[text], text))
    heads = list(dict.fromkeys(kind.heads[text] for text in said))
    # One phrase names the class; several are named by what they have in common.
    name = said[0] if len(said) == 1 else heads[0] if len(heads) == 1 else kind_name
    origins = tuple(
        Origin(
            cluster,
            captions[cluster][numbers[0]],
            len(numbers) / len(captions[cluster]),
            clusters.shares[cluster],
        )
        for cluster, numbers in sorted(kind.named.items())
    )
    score = max(origin.named * clusters.agreement[origin.cluster] for origin in origins)
    synonyms = tuple(dict.fromkeys((name, *said, *heads)))
    return Word(name, synonyms, origins, score, lists.is_thing(name))


def to_vocabulary(words: Sequence[Word]) -> Vocabulary | None:
    """Return the words as classes, in their order; None if there is none."""
    return Vocabulary(tuple(word.synonyms for word in words)) if words else None


def without(words: Sequence[Word], names: Sequence[str], lists: WordLists) -> tuple[Word, ...]:
    """Leave out words by their name or a synonym, singular or plural; other synonyms of a word stay.

    Args:
        words: of an image.
        names: what is not looked for.
        lists: for lemmas.
    """
    unwanted = {lemma(name.lower().strip(), lists) for name in names}
    kept = []
    for word in words:
        synonyms = tuple(s for s in word.synonyms if s not in unwanted)
        if word.name not in unwanted and synonyms:
            kept.append(replace(word, synonyms=synonyms))
    return tuple(kept)


def with_added(
    words: Sequence[Word], classes: Vocabulary, things: frozenset[int], lists: WordLists
) -> tuple[Word, ...]:
    """Add words of the user in front; a found word with one of their synonyms joins them.

    Args:
        words: of an image.
        classes: what to look for in any case.
        things: positions of the classes whose instances are told apart.
        lists: for lemmas.
    """
    added, rest = [], list(words)
    for k, synonyms in enumerate(classes.classes):
        own = {lemma(s.lower().strip(), lists) for s in synonyms} | set(synonyms)
        same = [word for word in rest if own & {lists.kind_of(word.name), *word.synonyms}]
        rest = [word for word in rest if word not in same]
        more = dict.fromkeys(s for word in same for s in word.synonyms if s not in own)
        origins: dict[int, Origin] = {}
        for origin in (origin for word in same for origin in word.origins):
            origins.setdefault(origin.cluster, origin)
        in_order = tuple(origins[cluster] for cluster in sorted(origins))
        added.append(Word(synonyms[0], (*synonyms, *more), in_order, 1.0, k in things))
    return (*added, *rest)
