"""Texts that are longer than CLIP reads: told once, by name."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import open_clip
import pytest

from zsseg_d2 import Vocabulary
from zsseg_d2.modeling.clip import context
from zsseg_d2.modeling.clip.context import read_alike
from zsseg_d2.modeling.clip.text_classifier import TextClassifier
from zsseg_d2.vocabulary import PROMPT_TEMPLATES

from .test_text_classifier import FakeClip

TOKENIZER = open_clip.get_tokenizer("RN50")


@pytest.fixture
def warnings(caplog):
    context._warn.cache_clear()
    with caplog.at_level(logging.WARNING, logger=context.__name__):
        yield caplog


@pytest.mark.parametrize("words", [60, 74, 75, 76, 90])
@pytest.mark.parametrize("word", ["car ", "C", "\u6c7d", "unpronounceableness "])
def test_exactly_the_texts_that_lose_tokens_are_named(warnings, words, word):
    text = (word * words).strip()
    # With a larger context, no token may be lost.
    cut = int((TOKENIZER([text], context_length=2000) != 0).sum()) > 77
    for _ in range(2):
        context.warn_of_cut_texts(TOKENIZER, [text, "a short one"])
    assert len(warnings.records) == cut
    assert all(repr(text) in r.getMessage() and "first 75" in r.getMessage() for r in warnings.records)


def test_names_of_classes_are_measured_in_their_templates(warnings):
    clip = FakeClip()
    clip.tokenizer = TOKENIZER
    fits, longer = "car " * 67, "bus " * 68
    for text, cut in ((fits, False), (longer, True)):
        lengths = [int((TOKENIZER([t.format(text)], context_length=2000) != 0).sum()) for t in PROMPT_TEMPLATES]
        assert (max(lengths) > 77) == cut
    TextClassifier()(Vocabulary(((fits.strip(),), ("road", longer.strip()))), clip)
    (record,) = warnings.records
    assert repr(longer.strip()) in record.getMessage()


def test_a_tokenizer_of_another_kind_is_trusted(warnings):
    context.warn_of_cut_texts(SimpleNamespace(), ["car " * 99])
    assert not warnings.records


@pytest.mark.parametrize("length", [16, 77])
def test_texts_that_begin_alike_are_one_to_clip(length):
    tokenizer = open_clip.SimpleTokenizer(context_length=length)
    start = "very " * (length - 3)  # with the marks of start and end, one more token fits
    assert read_alike(tokenizer, [f"{start}red car", f"{start}red bus"]) == (f"{start}red car", f"{start}red bus")
    assert read_alike(tokenizer, [f"{start}red car", f"{start}blue car"]) is None
    assert read_alike(None, ["a", "a b"]) is None
