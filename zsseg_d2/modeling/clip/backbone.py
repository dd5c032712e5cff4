"""Frozen convolutional CLIP as a Detectron2 backbone: dense features, region embeddings, text embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor

from ..padding import Padding
from .loading import build_tokenizer, create_clip, resolve_clip_name
from .text import text_embeddings
from .towers import STAGES, STRIDES, CLIPTower, find_tower


@BACKBONE_REGISTRY.register()
class CLIP(Backbone):
    """A convolutional CLIP of open_clip, always in eval mode and without gradients.

    Outputs of :meth:`forward`: "res2" … "res5" at strides 4 to 32; "clip_vis_dense", the stride-32 map from which
    CLIP's own head makes embeddings (FC-CLIP, Yu et al. 2023, section 3.2).

    Raises:
        ValueError: If the model has no convolutional tower, or another embedding width than MODEL.FC_CLIP.EMBED_DIM.
    """

    clip_model: Any  # open_clip's models have no common type

    def __init__(self, cfg: CfgNode, input_shape: ShapeSpec | None = None) -> None:
        super().__init__()
        name = resolve_clip_name(cfg.MODEL.FC_CLIP.CLIP_MODEL_NAME)
        self.clip_model = create_clip(name, cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS)
        self.tokenizer = build_tokenizer(name)
        self.model_name = name
        try:
            self.tower = find_tower(self.clip_model.visual)
        except ValueError as error:
            raise ValueError(f"MODEL.FC_CLIP.CLIP_MODEL_NAME='{name}': {error}") from error
        self.embed_dim = self.tower.embed_dim
        wanted = cfg.MODEL.FC_CLIP.EMBED_DIM
        if wanted != self.embed_dim:
            raise ValueError(
                f"MODEL.FC_CLIP.EMBED_DIM={wanted}: '{name}' embeds in {self.embed_dim} dimensions. "
                f"Fix: set it to {self.embed_dim}."
            )
        self._out_features = [*STAGES, "clip_vis_dense"]
        self._out_feature_strides = dict(zip(self._out_features, (*STRIDES, STRIDES[-1])))
        self._out_feature_channels = dict(zip(self._out_features, (*self.tower.widths, self.tower.widths[-1])))
        self.requires_grad_(False)
        self.eval()

    @property
    def size_divisibility(self) -> int:
        """Pixels that both sides of an image must be a multiple of."""
        return STRIDES[-1]

    @property
    def logit_scale(self) -> Tensor:
        """() CLIP's own factor of cosines, capped at 100 as in training."""
        return self.clip_model.logit_scale.exp().clamp(max=100)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: frozen batch norm, no dropout."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor, padding: Padding | None = None) -> dict[str, Tensor]:
        """Compute feature maps; see :meth:`CLIPTower.dense_features` and :meth:`CLIPTower.padded_features`.

        Args:
            images: (B, 3, H, W) normalised; H and W multiples of 32.
            padding: which part of them is image; None: all.
        """
        if padding is None:
            return self.tower.dense_features(images)
        if padding.in_one_pass(images.device):
            return self.tower.padded_features(images, padding)
        return CLIPTower.padded_features(self.tower, images, padding)

    @torch.no_grad()
    def embed_regions(self, dense: Tensor, masks: Tensor) -> Tensor:
        """Compute embeddings of regions; see :meth:`CLIPTower.region_embeddings`.

        Args:
            dense: (B, C, h, w) ``clip_vis_dense``.
            masks: (B, Q, h, w) mask logits; a region is where they are positive.

        Returns:
            (B, Q, E), not normalised.
        """
        return self.tower.region_embeddings(dense, masks > 0)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as (len(texts), E) L2-normalised float32."""
        device = self.clip_model.logit_scale.device
        tokens = self.tokenizer(list(texts)).to(device)
        with torch.autocast(device.type, enabled=False):
            return F.normalize(text_embeddings(self.clip_model, tokens).float(), dim=-1)
