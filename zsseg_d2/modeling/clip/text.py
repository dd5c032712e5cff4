"""CLIP's text tower: tokens to embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_GROUP = 4  # texts that are embedded together
_STEP = 8  # tokens; lengths are rounded up to a multiple


def text_embeddings(clip: Any, tokens: Tensor, length: int | None = None) -> Tensor:
    """Embed texts, computing no more positions than the longest one uses: under a causal mask the rest has no effect.

    Args:
        clip: the open_clip model.
        tokens: (L, context) int64.
        length: positions to compute; no text may use more. Default: those of the longest one.

    Returns:
        (L, E), not normalised.
    """
    if not _is_causal(clip):
        return clip.encode_text(tokens)
    ends = tokens.argmax(-1)
    length = int(ends.max()) + 1 if length is None else length
    x = clip.token_embedding(tokens[:, :length]) + clip.positional_embedding[:length]
    x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
    return clip.ln_final(x[torch.arange(len(x), device=x.device), ends]) @ clip.text_projection


def separate_text_embeddings(clip: Any, tokens: Tensor) -> Tensor:
    """Embed texts, each to the same bits whatever the others are.

    Matrix products round differently for other numbers of rows. So texts are embedded in groups of one size, filled up
    where one is smaller, and of lengths that each text determines by itself. That takes less time than one by one.

    Args:
        clip: the open_clip model.
        tokens: (L, context) int64.

    Returns:
        (L, E), not normalised.
    """
    context = tokens.shape[1]
    lengths = [min(-(-(end + 1) // _STEP) * _STEP, context) for end in tokens.argmax(-1).tolist()]
    lengths = lengths if _is_causal(clip) else [context] * len(tokens)
    rows: dict[int, Tensor] = {}
    for length in sorted(set(lengths)):
        members = [k for k, own in enumerate(lengths) if own == length]
        for start in range(0, len(members), _GROUP):
            group = members[start : start + _GROUP]
            filled = tokens[group + group[:1] * (_GROUP - len(group))]
            rows |= zip(group, text_embeddings(clip, filled, length)[: len(group)])
    return torch.stack([rows[k] for k in range(len(tokens))])


def _is_causal(clip: Any) -> bool:
    """Return whether positions after a text's end have no effect on its embedding."""
    causal = getattr(clip, "text_pool_type", None) == "argmax" and getattr(clip, "attn_mask", None) is not None
    return causal and isinstance(clip.text_projection, Tensor)


def text_width(clip: Any) -> int:
    """Return the width E of the text embedding, whichever kind of text tower open_clip built."""
    if hasattr(clip, "text"):
        return clip.text.output_dim
    projection = clip.text_projection
    return projection.out_features if isinstance(projection, nn.Linear) else projection.shape[-1]
