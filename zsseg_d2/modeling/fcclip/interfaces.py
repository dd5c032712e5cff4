"""What :class:`FCCLIPHead` expects of a pixel decoder and of a query decoder. Subclass these to write your own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..padding import Padding


@dataclass(frozen=True)
class Queries:
    """Predictions of a query decoder for one batch, after one layer.

    Attributes:
        class_embed: (B, Q, E), compared with text rows for the class logits.
        mask_embed: (B, Q, C); its product with the mask features is the mask logits.
        mask_logits: (B, Q, h, w) float32 from :meth:`QueryDecoder.last`, else None.
    """

    class_embed: Tensor
    mask_embed: Tensor
    mask_logits: Tensor | None = None


class PixelDecoder(nn.Module):
    """Turns CLIP's feature maps into mask features. Built as ``cls(cfg, input_shape)``.

    Attributes:
        masks_padding: :meth:`forward` takes a ``padding``, and the result of an image does not depend on it. Otherwise
            a training batch of several sizes is decoded size by size, as it is on a CPU.
    """

    masks_padding: ClassVar[bool] = False

    def forward(self, features: Mapping[str, Tensor], padding: Padding | None = None) -> tuple[Tensor, list[Tensor]]:
        """Decode feature maps.

        Args:
            features: "res2" … "res5", each (B, C_i, H / stride, W / stride) at strides 4 to 32.
            padding: which part of the maps is image; None: all. Given only if ``masks_padding``.

        Returns:
            Mask features (B, mask_dim, H/4, W/4), 0 outside the images, and features (B, C, h, w) at strides 32, 16, 8.
        """
        raise NotImplementedError

    def unprojected(self, features: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor], nn.Conv2d | None]:
        """Decode feature maps for inference, where the last 1 x 1 convolution may be left to the query decoder.

        Returns:
            Features (B, C, H/4, W/4), those at strides 32, 16, 8, and the convolution that makes the first mask
            features;
            None: they are.
        """
        return *self(features), None


class QueryDecoder(nn.Module):
    """Turns features into queries. Built as ``cls(cfg)``.

    Attributes:
        logit_scale: () log of the factor of the cosines that become class logits; a parameter.
        masks_padding: as of :class:`PixelDecoder`.
    """

    logit_scale: nn.Parameter
    masks_padding: ClassVar[bool] = False

    def forward(
        self, scales: list[Tensor], mask_features: Tensor, return_aux: bool, padding: Padding | None = None
    ) -> list[Queries]:
        """Decode queries for training.

        Args:
            scales: (B, C, h, w) at strides 32, 16, 8.
            mask_features: (B, mask_dim, H/4, W/4).
            return_aux: whether to return the predictions of earlier layers too.
            padding: which part of the maps is image; None: all. Given only if ``masks_padding``.

        Returns:
            Predictions, the last layer's last; only that one without ``return_aux``.
        """
        raise NotImplementedError

    @torch.no_grad()
    def last(self, scales: list[Tensor], features: Tensor, projection: nn.Conv2d | None = None) -> Queries:
        """Decode the last layer's queries with their mask logits, for inference.

        Args:
            scales: as in :meth:`forward`.
            features: (B, C, H/4, W/4).
            projection: the convolution that makes them mask features; None: they are.
        """
        mask_features = features if projection is None else projection(features)
        queries = self(scales, mask_features, return_aux=False)[-1]
        logits = torch.einsum("bqc,bchw->bqhw", queries.mask_embed, mask_features)
        return replace(queries, mask_logits=logits.float())
