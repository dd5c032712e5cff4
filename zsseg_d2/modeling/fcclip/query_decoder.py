"""The masked-attention query decoder with FC-CLIP's class head (Cheng et al. 2022, 3.2; Yu et al. 2023, 3.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..upsampling import downsample_masks
from .layers import MLP, attend, full_precision, sine_position, unless_autocast
from .mask_pooling import mask_pool


@dataclass(frozen=True)
class Queries:
    """What the decoder says of one batch after one layer.

    ``class_embed`` (B, Q, E) is compared with text rows; the mask logits are ``mask_embed`` (B, Q, C) · mask features.
    ``mask_logits`` (B, Q, h, w) float32 come from :meth:`MaskedAttentionDecoder.last` only.
    """

    class_embed: Tensor
    mask_embed: Tensor
    mask_logits: Tensor | None = None


class CrossAttentionLayer(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor) -> Tensor:
        return self.norm(x + attend(self.multihead_attn, x + position, key, value, attn_mask))


class SelfAttentionLayer(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        return self.norm(x + attend(self.self_attn, x + position, x + position, x))


class FFNLayer(nn.Module):
    def __init__(self, dim: int, feedforward: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, feedforward)
        self.linear2 = nn.Linear(feedforward, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.linear2(F.relu(self.linear1(x))))


class MaskedAttentionDecoder(nn.Module):
    """Q learned queries look at strides 32, 16, 8 in turn, each only inside the mask it predicted before.

    Args:
        dim: width C of queries and of the incoming features. mask_dim: width of the mask features.
        embed_dim: width E of CLIP's embedding. queries: their number Q. layers: decoder layers.
    """

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

    def forward(self, scales: list[Tensor], mask_features: Tensor, return_aux: bool) -> list[Queries]:
        """
        Args:
            scales: (B, C, h, w) at strides 32, 16, 8. mask_features: (B, mask_dim, H/4, W/4).
            return_aux: predictions of the learned queries and of each layer, or of the last layer only; class embeddings
                that nobody reads are then not computed.

        Returns:
            ``layers + 1`` predictions, or one.
        """
        said = self._layers(scales, mask_features, None)
        said = said if return_aux else said[-1:]
        normed, mask_embed = (torch.cat(parts, 1) for parts in zip(*said))
        with full_precision(mask_features.device):
            pooled = mask_pool(unless_autocast(mask_features), unless_autocast(mask_embed))
        class_embed = self.class_embed(self._mask_pooling_proj(pooled) + normed)
        return [Queries(c, m) for c, (_, m) in zip(class_embed.chunk(len(said), 1), said)]

    @torch.no_grad()
    def last(self, scales: list[Tensor], features: Tensor, projection: nn.Conv2d) -> Queries:
        """Prediction of the last layer with its mask logits, for mask features that are never made.

        They would be ``projection(features)``, W·f + b in each cell. A mask logit e·(W·f + b) is (e·W)·f + e·b, and a mean
        of W·f + b is W·mean(f) + b, so that some hundred queries are projected and not each cell.

        Args:
            scales: as in :meth:`forward`. features: (B, C, H/4, W/4). projection: C to mask_dim channels, 1 x 1.
        """
        normed, mask_embed = self._layers(scales, features, projection)[-1]
        embed, offset = _project(mask_embed, projection)
        with full_precision(features.device):
            features = unless_autocast(features)
            logits = _products(unless_autocast(embed), features)
            # 0 and 1, without a map of truth values between
            inside = torch.gt(logits, -offset[..., None].to(logits), out=torch.empty_like(logits))
            area = inside.sum((-1, -2), dtype=torch.float32)[..., None]
            mean = torch.einsum("bqhw,bchw->bqc", inside, features).float() / area.clamp(min=1)
            pooled = F.linear(mean, projection.weight.flatten(1), projection.bias) * (area > 0)
            logits = logits.add_(offset[..., None]) if logits.dtype == torch.float32 else logits + offset[..., None]
        class_embed = self.class_embed(self._mask_pooling_proj(pooled) + normed)
        return Queries(class_embed, mask_embed, logits)

    def _layers(
        self, scales: list[Tensor], features: Tensor, projection: nn.Conv2d | None
    ) -> list[tuple[Tensor, Tensor]]:
        """Queries after their norm and mask embeddings, both (B, Q, C): of the learned queries, then after each layer.

        Mask features are ``features``, or their projection.
        """
        memories = [s.flatten(2).transpose(1, 2) + e for s, e in zip(scales, self.level_embed.weight)]
        keys = [m + sine_position(*s.shape[-2:], s.shape[1], s.device).flatten(1).T for m, s in zip(memories, scales)]
        # Resizing and the dot product with a query are both linear, so the features are resized once, not Q masks a layer.
        with torch.no_grad():
            small = [downsample_masks(features, tuple(s.shape[-2:])) for s in scales]
        x = self.query_feat.weight.expand(len(features), -1, -1)
        query_position = self.query_embed.weight
        normed = self.decoder_norm(x)
        said = [(normed, self.mask_embed(normed))]
        for index in range(self.num_layers):
            level = index % len(scales)
            attn_mask = self._attn_mask(said[-1][1], small[level], projection)
            x = self.transformer_cross_attention_layers[index](
                x, query_position, keys[level], memories[level], attn_mask
            )
            x = self.transformer_self_attention_layers[index](x, query_position)
            x = self.transformer_ffn_layers[index](x)
            normed = self.decoder_norm(x)
            said.append((normed, self.mask_embed(normed)))
        return said

    @staticmethod
    @torch.no_grad()
    def _attn_mask(mask_embed: Tensor, features: Tensor, projection: nn.Conv2d | None) -> Tensor:
        """(B, Q, h·w) True outside each query's mask; a query whose whole mask is empty looks everywhere."""
        embed, offset = (mask_embed, None) if projection is None else _project(mask_embed, projection)
        logits = _products(embed, features).flatten(2)
        attn_mask = logits < (0 if offset is None else -offset.to(logits))  # sigmoid < 0.5
        return attn_mask & ~attn_mask.all(-1, keepdim=True)


def _project(mask_embed: Tensor, projection: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """(B, Q, C) embeddings and (B, Q, 1) offsets that say of features what ``mask_embed`` says of their projection."""
    with torch.autocast(mask_embed.device.type, enabled=False):
        mask_embed = mask_embed.float()
        return mask_embed @ projection.weight.flatten(1), mask_embed @ projection.bias[:, None]


def _products(embed: Tensor, features: Tensor) -> Tensor:
    """(B, Q, C) · (B, C, h, w) to (B, Q, h, w). An image at a time: bfloat16 has no fast product of batches on a CPU."""
    cells = features.permute(0, 2, 3, 1).flatten(1, 2)
    products = [F.linear(one, other).unflatten(1, features.shape[2:]) for one, other in zip(embed, cells)]
    return products[0][None] if len(products) == 1 else torch.stack(products)


def class_logits(class_embed: Tensor, text: Tensor, synonyms_per_class: tuple[int, ...], scale: Tensor) -> Tensor:
    """Scaled cosines of embeddings and text rows; a class takes the best of its synonyms (Yu et al. 2023, 3.2).

    Args:
        class_embed: (..., E). text: (T + 1, E) L2-normalised rows, void last.
        synonyms_per_class: (K,) summing to T. scale: () already exponentiated and capped.

    Returns:
        (..., K + 1), void last.
    """
    with torch.autocast(
        class_embed.device.type, enabled=False
    ):  # up to 100: half precision would keep one decimal place
        cosines = scale.float() * F.normalize(class_embed.float(), dim=-1) @ text.float().T
    groups = cosines.split((*synonyms_per_class, 1), dim=-1)
    return torch.stack([group.amax(-1) for group in groups], dim=-1)
