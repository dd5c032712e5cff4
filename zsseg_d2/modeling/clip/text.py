"""CLIP's text tower: tokens to embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def text_embeddings(clip: Any, tokens: Tensor) -> Tensor:
    """Embed texts, computing no more positions than the longest one uses: under a causal mask the rest has no effect.

    Args:
        clip: the open_clip model.
        tokens: (L, context) int64.

    Returns:
        (L, E), not normalised.
    """
    causal = getattr(clip, "text_pool_type", None) == "argmax" and getattr(clip, "attn_mask", None) is not None
    if not causal or not isinstance(clip.text_projection, Tensor):
        return clip.encode_text(tokens)
    ends = tokens.argmax(-1)
    length = int(ends.max()) + 1
    x = clip.token_embedding(tokens[:, :length]) + clip.positional_embedding[:length]
    x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
    return clip.ln_final(x[torch.arange(len(x), device=x.device), ends]) @ clip.text_projection


def text_width(clip: Any) -> int:
    """Return the width E of the text embedding, whichever kind of text tower open_clip built."""
    if hasattr(clip, "text"):
        return clip.text.output_dim
    projection = clip.text_projection
    return projection.out_features if isinstance(projection, nn.Linear) else projection.shape[-1]
