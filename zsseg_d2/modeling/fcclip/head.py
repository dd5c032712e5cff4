"""Pixel decoder and query decoder as one head: features to queries and mask features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from ..padding import Padding
from ..registries import PIXEL_DECODER_REGISTRY, TRANSFORMER_DECODER_REGISTRY
from . import pixel_decoder, query_decoder
from .interfaces import PixelDecoder, Queries, QueryDecoder

__all__ = ["FCCLIPHead", "pixel_decoder", "query_decoder"]  # the decoders register themselves


@SEM_SEG_HEADS_REGISTRY.register()
class FCCLIPHead(nn.Module):
    """FC-CLIP's trainable part, with the parameter names of its checkpoints.

    Args:
        pixel_decoder: CLIP's feature maps to mask features.
        predictor: mask features to queries.
    """

    @configurable
    def __init__(self, *, pixel_decoder: PixelDecoder, predictor: QueryDecoder) -> None:
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = predictor

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """Build both decoders by their names in the config.

        Raises:
            ValueError: If a name is unknown.
        """
        pixel = PIXEL_DECODER_REGISTRY.get(cfg.MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME)
        query = TRANSFORMER_DECODER_REGISTRY.get(cfg.MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME)
        return {"pixel_decoder": pixel(cfg, input_shape), "predictor": query(cfg)}

    def forward(
        self, features: Mapping[str, Tensor], return_aux: bool, padding: Padding | None = None
    ) -> tuple[list[Queries], Tensor]:
        """Decode features for training.

        Args:
            features: of the backbone.
            return_aux: whether to return the predictions of earlier layers too.
            padding: which part of the features is image; None: all.

        Returns:
            Predictions, the last layer's last, and mask features (B, mask_dim, H/4, W/4).
        """
        if padding is None:
            mask_features, scales = self.pixel_decoder(features)
            return self.predictor(scales, mask_features, return_aux), mask_features
        masked = self.pixel_decoder.masks_padding and self.predictor.masks_padding
        if not (masked and padding.in_one_pass(features["res2"].device)):
            return self.size_by_size(features, return_aux, padding)
        mask_features, scales = self.pixel_decoder(features, padding)
        return self.predictor(scales, mask_features, return_aux, padding), mask_features

    def size_by_size(
        self, features: Mapping[str, Tensor], return_aux: bool, padding: Padding
    ) -> tuple[list[Queries], Tensor]:
        """Decode features for training as :meth:`forward`, the images of each size by themselves: the plain form."""
        groups = padding.same_size()
        found = [self({n: padding.part(m, images) for n, m in features.items()}, return_aux) for images in groups]
        order = torch.tensor([k for images in groups for k in images]).argsort()
        layers = zip(*(queries for queries, _ in found))
        joined = [
            Queries(torch.cat([q.class_embed for q in layer])[order], torch.cat([q.mask_embed for q in layer])[order])
            for layer in layers
        ]
        return joined, padding.join_groups(groups, [mask_features for _, mask_features in found])

    def last(self, features: Mapping[str, Tensor]) -> Queries:
        """Decode the last layer's queries with their mask logits (B, Q, H/4, W/4), for inference; without gradients."""
        lateral, scales, projection = self.pixel_decoder.unprojected(features)
        return self.predictor.last(scales, lateral, projection)
