"""CLIP's ResNet towers: feature maps, and embeddings of regions (Radford et al. 2021, section 2.4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .. import fast_forms
from ..fast_forms import fast_form
from ..padding import Padding
from ..registries import CLIP_TOWER_REGISTRY
from . import resnet_frozen
from .positions import pool_positions, resize_positions
from .towers import STAGES, CLIPTower


def _is_frozen(visual: Any, images: Tensor) -> bool:
    return not visual.training


@fast_form(resnet_frozen.dense_features, when=_is_frozen)
def dense_features(visual: Any, images: Tensor) -> dict[str, Tensor]:
    """Compute the output of each stage of open_clip's ``ModifiedResNet``; see :meth:`CLIPTower.dense_features`."""
    x = visual.stem(images)
    features = {}
    for name, layer in zip(STAGES, (visual.layer1, visual.layer2, visual.layer3, visual.layer4)):
        x = features[name] = layer(x)
    return features


@fast_form(resnet_frozen.attention_pool)
def attention_pool(pool: Any, dense: Tensor, inside: Tensor) -> Tensor:
    """Do CLIP's attention pooling with keys restricted to each mask; the query is the global mean.

    An empty mask attends everywhere, so that its row is finite.

    Args:
        pool: open_clip's ``AttentionPool2d``.
        dense: (B, C, h, w).
        inside: (B, Q, h, w) bool.

    Returns:
        (B, Q, E).
    """
    tokens = (dense + pool_positions(pool, dense)).flatten(2).transpose(1, 2)  # (B, hw, C)
    query = (dense.mean((-1, -2)) + pool.positional_embedding[0])[:, None]
    outside = ~inside.flatten(2)
    outside = outside & ~outside.all(-1, keepdim=True)  # (B, Q, hw)
    q, k, v = (
        projection(x).unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)
        for projection, x in ((pool.q_proj, query), (pool.k_proj, tokens), (pool.v_proj, tokens))
    )
    scores = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).expand(-1, -1, inside.shape[1], -1)
    weights = scores.masked_fill(outside[:, None], float("-inf")).softmax(-1)  # (B, heads, Q, hw)
    return pool.c_proj((weights @ v).transpose(1, 2).flatten(2))


@CLIP_TOWER_REGISTRY.register_as("ResNet")
class ResNetTower(CLIPTower):
    """OpenAI's ResNets as open_clip builds them."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__(visual)
        layers = (self.visual.layer1, self.visual.layer2, self.visual.layer3, self.visual.layer4)
        self.widths = tuple(layer[-1].conv3.out_channels for layer in layers)
        self.embed_dim = self.visual.attnpool.c_proj.out_features

    @classmethod
    def fits(cls, visual: nn.Module) -> bool:
        """Return whether ``visual`` ends in an attention pooling."""
        return getattr(visual, "attnpool", None) is not None

    def dense_features(self, images: Tensor) -> dict[str, Tensor]:
        """Compute feature maps; see :meth:`CLIPTower.dense_features`."""
        # Convolutions are fastest where the channels of a pixel lie together, and so is what reads them as tokens.
        features = dense_features(self.visual, images.contiguous(memory_format=torch.channels_last))
        return {**features, "clip_vis_dense": features["res5"]}

    def padded_features(self, images: Tensor, padding: Padding) -> dict[str, Tensor]:
        """Compute feature maps of images of several sizes in one pass; see :meth:`CLIPTower.padded_features`."""
        if not (fast_forms.enabled() and _is_frozen(self.visual, images)):
            return super().padded_features(images, padding)
        features = resnet_frozen.dense_features(
            self.visual, images.contiguous(memory_format=torch.channels_last), padding
        )
        return {**features, "clip_vis_dense": features["res5"]}

    def region_embeddings(self, dense: Tensor, inside: Tensor) -> Tensor:
        """Restrict CLIP's attention pooling to each region; see :meth:`CLIPTower.region_embeddings`."""
        return attention_pool(self.visual.attnpool, dense, inside)

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed images of any size; see :meth:`CLIPTower.embed_images`."""
        positions = self.visual.attnpool.positional_embedding
        side = int((len(positions) - 1) ** 0.5)
        resized = resize_positions(positions, (side, side), (images.shape[-2] // 32, images.shape[-1] // 32))
        return functional_call(self.visual, {"attnpool.positional_embedding": resized}, (images,))
