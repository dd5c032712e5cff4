"""FC-CLIP in its plain forms: what the fast ones are compared with and timed against, in one context manager."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsseg_d2.modeling import fast_forms
from zsseg_d2.modeling.fcclip import pixel_decoder, query_decoder
from zsseg_d2.modeling.fcclip.criterion import SetCriterion
from zsseg_d2.modeling.fcclip.interfaces import Queries
from zsseg_d2.modeling.fcclip.layers import sine_position
from zsseg_d2.modeling.fcclip.query_decoder import MaskedAttentionDecoder as Decoder

from . import criterion


@contextmanager
def plain_forms() -> Iterator[None]:
    """Compute as the published code does: the package's plain forms, every layer's predictions, every mask whole."""
    with ExitStack() as stack:
        stack.enter_context(fast_forms.plain_forms())
        for owner, name, plain in (
            (pixel_decoder, "_TOKENS", 1 << 40),
            (Decoder, "forward", decode),
            (query_decoder, "attend", attend),
            (SetCriterion, "forward", criterion.forward),
        ):
            stack.enter_context(mock.patch.object(owner, name, plain))
        yield


def attend(
    module: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    """Run torch's own module, with a mask and weights for each head; see ``fcclip.layers.attend``."""
    if attn_mask is not None:
        attn_mask = attn_mask[:, None].expand(-1, module.num_heads, -1, -1).flatten(0, 1)
    return module(*(x.transpose(0, 1) for x in (query, key, value)), attn_mask=attn_mask)[0].transpose(0, 1)


def decode(self: Decoder, scales: list[Tensor], mask_features: Tensor, return_aux: bool) -> list[Queries]:
    """Predict after every layer, and resize each layer's masks; see the decoder's ``forward``."""
    memories = [s.flatten(2).transpose(1, 2) + e for s, e in zip(scales, self.level_embed.weight)]
    positions = [sine_position(*s.shape[-2:], s.shape[1], s.device).flatten(1).T for s in scales]
    x = self.query_feat.weight.expand(len(mask_features), -1, -1)
    predictions = [_predict(self, x, mask_features)]
    for index in range(self.num_layers):
        level = index % len(scales)
        masks = F.interpolate(
            predictions[-1].mask_logits, scales[level].shape[-2:], mode="bilinear", align_corners=False
        )
        attn_mask = (masks.sigmoid() < 0.5).flatten(2).detach()
        attn_mask = attn_mask & ~attn_mask.all(-1, keepdim=True)
        key = memories[level] + positions[level]
        x = self.transformer_cross_attention_layers[index](x, self.query_embed.weight, key, memories[level], attn_mask)
        x = self.transformer_self_attention_layers[index](x, self.query_embed.weight)
        x = self.transformer_ffn_layers[index](x)
        predictions.append(_predict(self, x, mask_features))
    return predictions if return_aux else predictions[-1:]


def _predict(decoder: Decoder, x: Tensor, mask_features: Tensor) -> Queries:
    normed = decoder.decoder_norm(x)
    embed = decoder.mask_embed(normed)
    masks = torch.einsum("bqc,bchw->bqhw", embed, mask_features)
    inside = (masks > 0).to(mask_features.dtype).detach()
    pooled = torch.einsum("bqhw,bchw->bqc", inside / (inside.sum((-1, -2), keepdim=True) + 1e-8), mask_features)
    return Queries(decoder.class_embed(decoder._mask_pooling_proj(pooled) + normed), embed, masks)
