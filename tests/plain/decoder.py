"""FC-CLIP's query decoder from its parameters alone: predictions after every layer, and every mask whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Predicted(NamedTuple):
    """Class embeddings (B, Q, E), mask embeddings (B, Q, C) and mask logits (B, Q, h, w)."""

    class_embed: Tensor
    mask_embed: Tensor
    mask_logits: Tensor


def decode(state: Mapping[str, Tensor], scales: list[Tensor], mask_features: Tensor, *, heads: int) -> list[Predicted]:
    """Decode the learned queries.

    Args:
        state: Parameters under FC-CLIP's names.
        scales: (B, C, h, w) at strides 32, 16, 8.
        mask_features: (B, C, H/4, W/4).
        heads: Attention heads.

    Returns:
        Predictions of the learned queries and after each layer.
    """
    batch, position = len(mask_features), state["query_embed.weight"]
    x = state["query_feat.weight"].expand(batch, -1, -1)
    predictions = [_predict(state, x, mask_features)]
    for layer in range(sum(name.endswith("multihead_attn.in_proj_weight") for name in state)):
        level = layer % 3
        height, width = scales[level].shape[-2:]
        memory = scales[level].flatten(2).transpose(1, 2) + state["level_embed.weight"][level]
        key = memory + sine_position(height, width, memory.shape[-1]).to(memory.device)
        logits = F.interpolate(predictions[-1].mask_logits, (height, width), mode="bilinear", align_corners=False)
        blocked = logits.sigmoid().flatten(2).detach() < 0.5
        blocked[blocked.all(-1)] = False
        cross = f"transformer_cross_attention_layers.{layer}."
        x = _norm(
            state,
            cross + "norm",
            x + _attend(state, cross + "multihead_attn", heads, x + position, key, memory, blocked),
        )
        own = f"transformer_self_attention_layers.{layer}."
        x = _norm(state, own + "norm", x + _attend(state, own + "self_attn", heads, x + position, x + position, x))
        ffn = f"transformer_ffn_layers.{layer}."
        hidden = _linear(state, ffn + "linear1", x).clamp(min=0)
        x = _norm(state, ffn + "norm", x + _linear(state, ffn + "linear2", hidden))
        predictions.append(_predict(state, x, mask_features))
    return predictions


def sine_position(height: int, width: int, channels: int, temperature: float = 10000.0) -> Tensor:
    """Return DETR's (h·w, C) encoding: sines and cosines of the row, then of the column."""
    half = channels // 2
    k = torch.arange(half)
    frequency = temperature ** (2 * (k // 2) / half)

    def encode(length: int) -> Tensor:
        angle = torch.arange(1, length + 1)[:, None] / (length + 1e-6) * 2 * math.pi / frequency
        return torch.where(k % 2 == 0, angle.sin(), angle.cos())

    rows, columns = encode(height)[:, None].expand(-1, width, -1), encode(width)[None].expand(height, -1, -1)
    return torch.cat((rows, columns), -1).flatten(0, 1)


def _predict(state: Mapping[str, Tensor], x: Tensor, mask_features: Tensor) -> Predicted:
    normed = _norm(state, "decoder_norm", x)
    embed = _mlp(state, "mask_embed", normed)
    masks = torch.einsum("bqc,bchw->bqhw", embed, mask_features)
    inside = (masks > 0).to(mask_features.dtype).detach()
    pooled = torch.einsum("bqhw,bchw->bqc", inside / (inside.sum((-1, -2), keepdim=True) + 1e-8), mask_features)
    projected = _linear(state, "_mask_pooling_proj.1", _norm(state, "_mask_pooling_proj.0", pooled))
    return Predicted(_mlp(state, "class_embed", projected + normed), embed, masks)


def _linear(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def _norm(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def _mlp(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    for layer in range(2):
        x = _linear(state, f"{name}.layers.{layer}", x).clamp(min=0)
    return _linear(state, f"{name}.layers.2", x)


def _attend(
    state: Mapping[str, Tensor],
    name: str,
    heads: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    blocked: Tensor | None = None,
) -> Tensor:
    """Attend with the weights of each head written out.

    ``blocked`` (B, Q, L) is True where a query must not attend.
    """
    weights, biases = (state[f"{name}.in_proj_{kind}"].chunk(3) for kind in ("weight", "bias"))
    q, k, v = (
        (x @ w.T + b).unflatten(-1, (heads, -1)).transpose(1, 2)
        for x, w, b in zip((query, key, value), weights, biases)
    )
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    if blocked is not None:
        scores = scores.masked_fill(blocked[:, None], -math.inf)
    return _linear(state, f"{name}.out_proj", (scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
