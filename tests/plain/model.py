"""FC-CLIP in its plain forms: what the fast ones are checked and timed against, in one context manager."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsseg_d2.meta_arch import fcclip
from zsseg_d2.modeling.clip import backbone as clip, resnet as clip_resnet
from zsseg_d2.modeling.deformable_attention import attention as deformable_attention
from zsseg_d2.modeling.fcclip import pixel_decoder, query_decoder
from zsseg_d2.modeling.fcclip.criterion import SetCriterion
from zsseg_d2.modeling.deformable_attention.attention import MSDeformAttn, ms_deform_attn
from zsseg_d2.modeling.fcclip.head import FCCLIPHead
from zsseg_d2.modeling.fcclip.layers import GroupNorm, sine_position
from zsseg_d2.modeling.fcclip.query_decoder import MaskedAttentionDecoder, Queries

from . import criterion, panoptic


@contextmanager
def plain_forms() -> Iterator[None]:
    """Inside, models compute as the published code does: every layer's predictions, every mask whole."""
    replaced = (
        mock.patch.object(
            deformable_attention, "sampler", lambda value, shapes: partial(ms_deform_attn, value, shapes)
        ),
        mock.patch.object(MSDeformAttn, "_softmax", lambda self, x: x.unflatten(-1, (self.heads, -1)).softmax(-1)),
        mock.patch.object(pixel_decoder, "_TOKENS", 1 << 40),
        mock.patch.object(GroupNorm, "forward", nn.GroupNorm.forward),
        mock.patch.object(MaskedAttentionDecoder, "forward", decode),
        mock.patch.object(FCCLIPHead, "last", lambda head, features: head(features, return_aux=False)[0][-1]),
        mock.patch.object(query_decoder, "attend", attend),
        mock.patch.object(clip, "dense_features", dense_features),
        mock.patch.object(clip_resnet, "attention_pool", attention_pool),
        mock.patch.object(fcclip, "downsample_masks", partial(F.interpolate, mode="bilinear", align_corners=False)),
        mock.patch.object(fcclip, "panoptic_inference", panoptic.panoptic_inference),
        mock.patch.object(SetCriterion, "forward", criterion.forward),
    )
    for patch in replaced:
        patch.start()
    try:
        yield
    finally:
        for patch in replaced:
            patch.stop()


def dense_features(visual: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """See :func:`zsseg_d2.modeling.clip.backbone.dense_features`: open_clip's own modules, one after the other."""
    residual = getattr(visual, "attnpool", None) is not None
    stages = (visual.layer1, visual.layer2, visual.layer3, visual.layer4) if residual else visual.trunk.stages
    x = visual.stem(images) if residual else visual.trunk.stem(images)
    features = {}
    for name, stage in zip(("res2", "res3", "res4", "res5"), stages):
        x = features[name] = stage(x)
    return {**features, "clip_vis_dense": x if residual else visual.trunk.norm_pre(x)}


def attention_pool(pool: nn.Module, dense: Tensor, inside: Tensor) -> Tensor:
    """See :func:`zsseg_d2.modeling.clip.resnet.attention_pool`: torch's attention, each mask with keys of its own."""
    side = int((pool.positional_embedding.shape[0] - 1) ** 0.5)
    grid = pool.positional_embedding[1:].T.reshape(1, -1, side, side)
    tokens = (
        (dense + F.interpolate(grid, dense.shape[-2:], mode="bilinear", align_corners=False)).flatten(2).transpose(1, 2)
    )
    query = (dense.mean((-1, -2)) + pool.positional_embedding[0])[:, None]
    attn_mask = ~inside.flatten(2)
    attn_mask = attn_mask & ~attn_mask.all(-1, keepdim=True)
    projected = [
        p(x).unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)
        for p, x in ((pool.q_proj, query), (pool.k_proj, tokens), (pool.v_proj, tokens))
    ]
    q, k, v = projected
    scores = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).expand(-1, -1, inside.shape[1], -1)
    weights = scores.masked_fill(attn_mask[:, None], float("-inf")).softmax(-1)
    return pool.c_proj((weights @ v).transpose(1, 2).flatten(2))


def attend(
    module: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    """See :func:`zsseg_d2.modeling.fcclip.layers.attend`: torch's module, with a mask and weights for each head, as published."""
    if attn_mask is not None:
        attn_mask = attn_mask[:, None].expand(-1, module.num_heads, -1, -1).flatten(0, 1)
    return module(*(x.transpose(0, 1) for x in (query, key, value)), attn_mask=attn_mask)[0].transpose(0, 1)


def decode(
    self: MaskedAttentionDecoder, scales: list[Tensor], mask_features: Tensor, return_aux: bool
) -> list[Queries]:
    """See :meth:`MaskedAttentionDecoder.forward`: predicts after every layer whoever asks, and resizes each layer's masks."""
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


def _predict(decoder: MaskedAttentionDecoder, x: Tensor, mask_features: Tensor) -> Queries:
    normed = decoder.decoder_norm(x)
    embed = decoder.mask_embed(normed)
    masks = torch.einsum("bqc,bchw->bqhw", embed, mask_features)
    inside = (masks > 0).to(mask_features.dtype).detach()
    pooled = torch.einsum("bqhw,bchw->bqc", inside / (inside.sum((-1, -2), keepdim=True) + 1e-8), mask_features)
    return Queries(decoder.class_embed(decoder._mask_pooling_proj(pooled) + normed), embed, masks)
