"""Text embeddings: the values of open_clip, and the same bits in any company."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zsseg_d2.modeling.clip.frozen import FrozenCLIP
from zsseg_d2.modeling.clip.loading import build_tokenizer, create_clip, resolve_clip_name
from zsseg_d2.modeling.clip.text import separate_text_embeddings, text_embeddings

WORDS = (
    "car",
    "a red bus",
    "the small yellow bench on the left",
    "tree",
    "two people next to the old house by the sea",
)
TEXTS = [f"{start} {words}".strip() for start in ("", "a photo of a", "there is a") for words in WORDS]


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return create_clip(resolve_clip_name("mini_vit"), "").eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tokens():
    return build_tokenizer(resolve_clip_name("mini_vit"))(TEXTS)


@pytest.fixture(scope="module")
def rows(clip, tokens):
    with torch.no_grad():
        return separate_text_embeddings(clip, tokens)


def test_the_values_are_open_clips(clip, tokens, rows):
    with torch.no_grad():
        torch.testing.assert_close(rows, clip.encode_text(tokens), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(text_embeddings(clip, tokens), clip.encode_text(tokens), atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(order=st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=20))
def test_a_text_has_the_same_bits_in_any_company(clip, tokens, rows, order):
    """Also where it stands twice, and at any place."""
    with torch.no_grad():
        assert torch.equal(separate_text_embeddings(clip, tokens[order]), rows[order])


def test_prompts_are_embedded_so(clip, tokens, rows):
    frozen = FrozenCLIP(clip, build_tokenizer(resolve_clip_name("mini_vit")))
    assert torch.equal(frozen.embed_texts(TEXTS[3:5]), rows[3:5])
    assert torch.equal(frozen.embed_tokens(tokens), rows)


def test_a_tower_that_is_not_causal_sees_all_positions(clip, tokens, monkeypatch):
    monkeypatch.setattr(clip, "text_pool_type", "last")
    shapes = []
    monkeypatch.setattr(clip, "encode_text", lambda t: shapes.append(tuple(t.shape)) or t[:, :2].float())
    found = separate_text_embeddings(clip, tokens[:6])
    assert shapes == [(4, tokens.shape[1])] * 2 and torch.equal(found, tokens[:6, :2].float())
