"""Pixel decoder and query decoder as one head: features to queries and mask features."""

from __future__ import annotations

from collections.abc import Mapping

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from .pixel_decoder import MSDeformAttnPixelDecoder
from .query_decoder import MaskedAttentionDecoder, Queries

_PIXEL_DECODER = "MSDeformAttnPixelDecoder"
_QUERY_DECODER = "MultiScaleExtendedMaskTransformerDecoder"


@SEM_SEG_HEADS_REGISTRY.register()
class FCCLIPHead(nn.Module):
    """FC-CLIP's trainable part, with the parameter names of its checkpoints."""

    def __init__(self, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> None:
        super().__init__()
        head, former = cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.MASK_FORMER
        for key, value, known in (
            ("SEM_SEG_HEAD.PIXEL_DECODER_NAME", head.PIXEL_DECODER_NAME, _PIXEL_DECODER),
            ("MASK_FORMER.TRANSFORMER_DECODER_NAME", former.TRANSFORMER_DECODER_NAME, _QUERY_DECODER),
        ):
            if value != known:
                raise ValueError(f"MODEL.{key} is '{value}'; only '{known}' is implemented.")
        if former.PRE_NORM:
            raise ValueError("MODEL.MASK_FORMER.PRE_NORM is True; only post-norm is implemented, as in FC-CLIP.")
        if head.CONVS_DIM != former.HIDDEN_DIM or former.ENFORCE_INPUT_PROJ:
            raise ValueError(
                "MODEL.SEM_SEG_HEAD.CONVS_DIM must equal MODEL.MASK_FORMER.HIDDEN_DIM: no input projection."
            )
        self.pixel_decoder = MSDeformAttnPixelDecoder(
            {name: spec.channels for name, spec in input_shape.items()},
            dim=head.CONVS_DIM,
            mask_dim=head.MASK_DIM,
            layers=head.TRANSFORMER_ENC_LAYERS,
            heads=head.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS,
            points=head.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS,
            feedforward=head.TRANSFORMER_ENC_DIM_FEEDFORWARD,
        )
        self.predictor = MaskedAttentionDecoder(
            dim=former.HIDDEN_DIM,
            mask_dim=head.MASK_DIM,
            embed_dim=cfg.MODEL.FC_CLIP.EMBED_DIM,
            queries=former.NUM_OBJECT_QUERIES,
            layers=former.DEC_LAYERS - 1,
            heads=former.NHEADS,
            feedforward=former.DIM_FEEDFORWARD,
        )

    def forward(self, features: Mapping[str, Tensor], return_aux: bool) -> tuple[list[Queries], Tensor]:
        """
        Args:
            features: of the backbone. return_aux: see :class:`MaskedAttentionDecoder`.

        Returns:
            Predictions, the last layer's last, and mask features (B, mask_dim, H/4, W/4).
        """
        mask_features, scales = self.pixel_decoder(features)
        return self.predictor(scales, mask_features, return_aux), mask_features

    def last(self, features: Mapping[str, Tensor]) -> Queries:
        """The last layer's prediction with its mask logits (B, Q, H/4, W/4), as inference needs it; records no gradient."""
        lateral, scales = self.pixel_decoder.features(features)
        return self.predictor.last(scales, lateral, self.pixel_decoder.mask_features)
