"""The masked-attention query decoder with FC-CLIP's class head (Cheng et al. 2022, 3.2; Yu et al. 2023, 3.2)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from .. import fast_forms
from ..padding import Padding, on_images
from ..registries import TRANSFORMER_DECODER_REGISTRY
from ..upsampling import downsample_masks
from .interfaces import Queries, QueryDecoder
from .layers import MLP, attend, full_precision, sine_tokens, unless_autocast
from .mask_logits import logits_and_pooled, outside_mask
from .mask_pooling import mask_pool

__all__ = ["MaskedAttentionDecoder", "Queries", "class_logits"]


class CrossAttentionLayer(nn.Module):
    """Attention from queries to features, then a norm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor) -> Tensor:
        """Update queries (B, Q, C) from features (B, L, C); see :func:`attend`."""
        return self.norm(x + attend(self.multihead_attn, x + position, key, value, attn_mask))


class SelfAttentionLayer(nn.Module):
    """Attention among queries, then a norm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """Update queries (B, Q, C)."""
        return self.norm(x + attend(self.self_attn, x + position, x + position, x))


class FFNLayer(nn.Module):
    """A feed-forward net on each query, then a norm."""

    def __init__(self, dim: int, feedforward: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, feedforward)
        self.linear2 = nn.Linear(feedforward, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Update queries (B, Q, C)."""
        return self.norm(x + self.linear2(F.relu(self.linear1(x))))


@TRANSFORMER_DECODER_REGISTRY.register_as("MultiScaleExtendedMaskTransformerDecoder")
class MaskedAttentionDecoder(QueryDecoder):
    """Decode Q learned queries from strides 32, 16, 8 in turn, each only inside the mask that it predicted before.

    Args:
        dim: width C of queries and of the incoming features.
        mask_dim: width of the mask features.
        embed_dim: width E of CLIP's embedding.
        queries: their number Q.
        layers: number of decoder layers.
        heads: attention heads.
        feedforward: hidden width of the feed-forward layers.
    """

    masks_padding = True

    @configurable
    def __init__(
        self,
        *,
        dim: int = 256,
        mask_dim: int = 256,
        embed_dim: int = 768,
        queries: int = 250,
        layers: int = 9,
        heads: int = 8,
        feedforward: int = 2048,
    ) -> None:
        super().__init__()
        self.num_layers = layers
        self.transformer_self_attention_layers = nn.ModuleList(SelfAttentionLayer(dim, heads) for _ in range(layers))
        self.transformer_cross_attention_layers = nn.ModuleList(CrossAttentionLayer(dim, heads) for _ in range(layers))
        self.transformer_ffn_layers = nn.ModuleList(FFNLayer(dim, feedforward) for _ in range(layers))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.decoder_norm = nn.LayerNorm(dim)
        self.query_feat = nn.Embedding(queries, dim)
        self.query_embed = nn.Embedding(queries, dim)
        self.level_embed = nn.Embedding(3, dim)
        self.mask_embed = MLP(dim, dim, mask_dim, 3)
        self._mask_pooling_proj = nn.Sequential(nn.LayerNorm(mask_dim), nn.Linear(mask_dim, dim))
        self.class_embed = MLP(dim, dim, embed_dim, 3)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read MODEL.MASK_FORMER.

        Raises:
            ValueError: If a setting of Mask2Former is asked for that FC-CLIP does not use.
        """
        head, former = cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.MASK_FORMER
        if former.PRE_NORM:
            raise ValueError("MODEL.MASK_FORMER.PRE_NORM=True: only post-norm exists. Fix: set it to False.")
        if former.ENFORCE_INPUT_PROJ:
            raise ValueError(
                "MODEL.MASK_FORMER.ENFORCE_INPUT_PROJ=True: no such projection exists. Fix: set it to False."
            )
        if head.CONVS_DIM != former.HIDDEN_DIM:
            raise ValueError(
                f"MODEL.MASK_FORMER.HIDDEN_DIM={former.HIDDEN_DIM}: the pixel decoder's features have width "
                f"{head.CONVS_DIM}, and no input projection exists. Fix: set MODEL.SEM_SEG_HEAD.CONVS_DIM to the same."
            )
        return {
            "dim": former.HIDDEN_DIM,
            "mask_dim": head.MASK_DIM,
            "embed_dim": cfg.MODEL.FC_CLIP.EMBED_DIM,
            "queries": former.NUM_OBJECT_QUERIES,
            "layers": former.DEC_LAYERS - 1,
            "heads": former.NHEADS,
            "feedforward": former.DIM_FEEDFORWARD,
        }

    def forward(
        self, scales: list[Tensor], mask_features: Tensor, return_aux: bool, padding: Padding | None = None
    ) -> list[Queries]:
        """Decode queries for training.

        Args:
            scales: (B, C, h, w) at strides 32, 16, 8.
            mask_features: (B, mask_dim, H/4, W/4), 0 outside the images, so that no mask is positive there.
            return_aux: whether to return the predictions of the learned queries and of each layer, or only those of the
                last layer; class embeddings are computed for what is returned.
            padding: which part of the maps is image; None: all.

        Returns:
            ``layers + 1`` predictions, or one.
        """
        outputs = self._layers(scales, mask_features, None, padding)
        outputs = outputs if return_aux else outputs[-1:]
        # All layers at once: one pass over the mask features.
        normed, mask_embed = (torch.cat(parts, 1) for parts in zip(*outputs))
        with full_precision(mask_features.device):
            pooled = mask_pool(unless_autocast(mask_features), unless_autocast(mask_embed))
        class_embed = self.class_embed(self._mask_pooling_proj(pooled) + normed)
        return [Queries(c, m) for c, (_, m) in zip(class_embed.chunk(len(outputs), 1), outputs)]

    @torch.no_grad()
    def last(self, scales: list[Tensor], features: Tensor, projection: nn.Conv2d | None = None) -> Queries:
        """Decode the last layer's queries with their mask logits, without making the mask features.

        See :meth:`QueryDecoder.last`, which is the plain form, and :mod:`.mask_logits` for the algebra.
        """
        if projection is None or not fast_forms.enabled():
            return super().last(scales, features, projection)
        normed, mask_embed = self._layers(scales, features, projection)[-1]
        with full_precision(features.device):
            logits, pooled = logits_and_pooled(mask_embed, unless_autocast(features), projection)
        class_embed = self.class_embed(self._mask_pooling_proj(pooled) + normed)
        return Queries(class_embed, mask_embed, logits)

    @torch.no_grad()
    def embed_masks(
        self, scales: list[Tensor], features: Tensor, projection: nn.Conv2d | None, masks: Tensor
    ) -> Tensor:
        """Embed given masks of one image as :meth:`last` embeds its own.

        Each takes the query of the last layer whose own mask has the largest IoU with it, and pools the mask features
        in its place.

        Args:
            scales: (1, C, h, w) at strides 32, 16, 8.
            features: (1, C, H/4, W/4).
            projection: as in :meth:`last`.
            masks: (N, H/4, W/4) bool, none empty.

        Returns:
            (N, E).
        """
        normed, mask_embed = self._layers(scales, features, projection)[-1]
        mask_features = (features if projection is None else projection(features))[0].flatten(1).float()
        own, given = (mask_embed[0].float() @ mask_features > 0).float(), masks.flatten(1).float()
        shared = given @ own.T
        iou = shared / (given.sum(1)[:, None] + own.sum(1) - shared)
        pooled = given @ mask_features.T / given.sum(1)[:, None]
        return self.class_embed(self._mask_pooling_proj(pooled) + normed[0, iou.argmax(1)])

    def _layers(
        self, scales: list[Tensor], features: Tensor, projection: nn.Conv2d | None, padding: Padding | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Run the decoder layers.

        Returns:
            Normed queries and mask embeddings, both (B, Q, C), of the learned queries and after each layer.
        """
        memories = [s.flatten(2).transpose(1, 2) + e for s, e in zip(scales, self.level_embed.weight)]
        keys = [m + sine_tokens(s, padding) for m, s in zip(memories, scales)]
        outside = [None if padding is None else padding.outside(s.shape, s.device)[:, None] for s in scales]
        # Resizing and the product with a query are both linear, so the features are resized once, not Q masks per
        # layer.
        with torch.no_grad():
            small = [on_images(padding, _resize_to, features, s) for s in scales]
        x = self.query_feat.weight.expand(len(features), -1, -1)
        query_position = self.query_embed.weight
        outputs = [self._normed_and_mask_embed(x)]
        for index in range(self.num_layers):
            level = index % len(scales)
            attn_mask = _attention_mask(outputs[-1][1], small[level], projection, outside[level])
            x = self.transformer_cross_attention_layers[index](
                x, query_position, keys[level], memories[level], attn_mask
            )
            x = self.transformer_self_attention_layers[index](x, query_position)
            x = self.transformer_ffn_layers[index](x)
            outputs.append(self._normed_and_mask_embed(x))
        return outputs

    def _normed_and_mask_embed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        normed = self.decoder_norm(x)
        return normed, self.mask_embed(normed)


def _resize_to(features: Tensor, like: Tensor) -> Tensor:
    """Resize features (B, C, h, w) to the last two sides of another map."""
    return downsample_masks(features, (like.shape[-2], like.shape[-1]))


@torch.no_grad()
def _attention_mask(
    mask_embed: Tensor, features: Tensor, projection: nn.Conv2d | None, padded: Tensor | None = None
) -> Tensor:
    """Return (B, Q, h·w) True where a query must not attend: outside its mask, unless that is empty, and in padding.

    Args:
        padded: (B, 1, h·w) bool, cells of padding; None: none.
    """
    outside = outside_mask(mask_embed, features, projection).flatten(2)
    if padded is None:
        return outside & ~outside.all(-1, keepdim=True)
    outside = outside | padded
    return torch.where(outside.all(-1, keepdim=True), padded, outside)


def class_logits(class_embed: Tensor, text: Tensor, synonyms_per_class: tuple[int, ...], scale: Tensor) -> Tensor:
    """Compare embeddings with text rows; a class takes the best of its synonyms (Yu et al. 2023, 3.2).

    Args:
        class_embed: (..., E).
        text: (T + 1, E) L2-normalised rows, void last.
        synonyms_per_class: (K,) summing to T.
        scale: () factor of the cosines, already exponentiated and capped.

    Returns:
        (..., K + 1) scaled cosines, void last.
    """
    # Logits reach 100, of which half precision would keep one decimal place.
    with torch.autocast(class_embed.device.type, enabled=False):
        cosines = scale.float() * F.normalize(class_embed.float(), dim=-1) @ text.float().T
    groups = cosines.split((*synonyms_per_class, 1), dim=-1)
    return torch.stack([group.amax(-1) for group in groups], dim=-1)
