"""Pixel decoder and query decoder as one head: features to queries and mask features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from ..registries import PIXEL_DECODER_REGISTRY, TRANSFORMER_DECODER_REGISTRY, look_up
from . import pixel_decoder as _pixel_decoder, query_decoder as _query_decoder  # noqa: F401  (they register themselves)
from .interfaces import PixelDecoder, Queries, QueryDecoder


def build_pixel_decoder(cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> PixelDecoder:
    """Build the pixel decoder that MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME names."""
    key, name = "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME", cfg.MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME
    return look_up(PIXEL_DECODER_REGISTRY, key, name)(cfg, input_shape)


def build_query_decoder(cfg: CfgNode) -> QueryDecoder:
    """Build the query decoder that MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME names."""
    key, name = "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME", cfg.MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME
    return look_up(TRANSFORMER_DECODER_REGISTRY, key, name)(cfg)


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
        return {"pixel_decoder": build_pixel_decoder(cfg, input_shape), "predictor": build_query_decoder(cfg)}

    def forward(self, features: Mapping[str, Tensor], return_aux: bool) -> tuple[list[Queries], Tensor]:
        """Decode features for training.

        Args:
            features: of the backbone.
            return_aux: whether to return the predictions of earlier layers too.

        Returns:
            Predictions, the last layer's last, and mask features (B, mask_dim, H/4, W/4).
        """
        mask_features, scales = self.pixel_decoder(features)
        return self.predictor(scales, mask_features, return_aux), mask_features

    def last(self, features: Mapping[str, Tensor]) -> Queries:
        """Decode the last layer's queries with their mask logits (B, Q, H/4, W/4), for inference; without gradients."""
        lateral, scales, projection = self.pixel_decoder.unprojected(features)
        return self.predictor.last(scales, lateral, projection)
