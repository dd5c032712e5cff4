"""The pixel decoder of Mask2Former (Cheng et al. 2022, section 3.2.1): CLIP features to mask features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec
from torch import Tensor, nn

from ..deformable_attention import MSDeformAttn
from ..deformable_attention.dispatch import Sampler
from ..padding import Padding, on_images
from ..registries import PIXEL_DECODER_REGISTRY
from .interfaces import PixelDecoder
from .layers import GroupNorm, full_precision, sine_tokens, unless_autocast

_TOKENS = 2048  # updated at a time where no gradient is recorded: what a CPU's cache holds


class EncoderLayer(nn.Module):
    """Deformable self-attention and a feed-forward net, each followed by a norm.

    Args:
        dim: width C.
        feedforward: hidden width of the feed-forward net.
        levels, heads, points: of deformable attention.
    """

    def __init__(self, dim: int, feedforward: int, levels: int, heads: int, points: int) -> None:
        super().__init__()
        self.self_attn = MSDeformAttn(dim, levels, heads, points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feedforward)
        self.linear2 = nn.Linear(feedforward, dim)
        self.norm2 = nn.LayerNorm(dim)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        reference: Tensor,
        shapes: list[tuple[int, int]],
        outside: Tensor | None = None,
    ) -> Tensor:
        """Update the tokens of all levels.

        Args:
            x: (B, S, C), S = Σ h·w.
            position: (S, C) or (B, S, C) position encoding.
            reference: (S, 2) centre of each token as (x, y) in [0, 1].
            shapes: (h, w) of each level.
            outside: (B, S) bool, tokens of padding, which are not read; None: none.

        Returns:
            (B, S, C).
        """
        sample = self.self_attn.sampler(x, shapes, outside)
        step = x.shape[1] if torch.is_grad_enabled() or x.is_cuda else _TOKENS
        parts = zip(x.split(step, dim=1), position.split(step, dim=-2), reference.split(step))
        return torch.cat([self._update(*part, sample, shapes) for part in parts], dim=1)

    def _update(
        self, x: Tensor, position: Tensor, reference: Tensor, sample: Sampler, shapes: list[tuple[int, int]]
    ) -> Tensor:
        x = self.norm1(x + self.self_attn.attend_at_points(x + position, reference, sample, shapes))
        return self.norm2(x + self.linear2(F.relu(self.linear1(x), inplace=True)))


class _EncoderLayers(nn.Module):
    """Encoder layers under the name that checkpoints have for them, ``encoder.layers``."""

    def __init__(self, layers: Iterable[EncoderLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class DeformableEncoder(nn.Module):
    """Encoder layers over the flattened levels, coarsest first.

    Args:
        dim: width C.
        feedforward: hidden width of the feed-forward nets.
        layers: number of encoder layers.
        levels, heads, points: of deformable attention.
    """

    def __init__(self, dim: int, feedforward: int, layers: int, levels: int, heads: int, points: int) -> None:
        super().__init__()
        self.level_embed = nn.Parameter(torch.empty(levels, dim).normal_())
        self.encoder = _EncoderLayers(EncoderLayer(dim, feedforward, levels, heads, points) for _ in range(layers))

    def forward(self, sources: list[Tensor], padding: Padding | None = None) -> list[Tensor]:
        """Update (B, C, h, w) of each level, coarsest first."""
        shapes = [(source.shape[-2], source.shape[-1]) for source in sources]
        device = sources[0].device
        x = torch.cat([source.flatten(2).transpose(1, 2) for source in sources], dim=1)
        position = torch.cat([sine_tokens(source, padding) + e for source, e in zip(sources, self.level_embed)], dim=-2)
        outside = None if padding is None else torch.cat([padding.outside(s, device) for s in shapes], dim=1)
        reference = torch.cat([_centres(h, w, device) for h, w in shapes])
        for layer in self.encoder.layers:
            x = layer(x, position, reference, shapes, outside)
        parts = x.split([h * w for h, w in shapes], dim=1)
        return [part.unflatten(1, shape).permute(0, 3, 1, 2) for part, shape in zip(parts, shapes)]


def _centres(h: int, w: int, device: torch.device) -> Tensor:
    """Return (h·w, 2) pixel centres as (x, y) in [0, 1]."""
    y = (torch.arange(h, device=device, dtype=torch.float32) + 0.5) / h
    x = (torch.arange(w, device=device, dtype=torch.float32) + 0.5) / w
    return torch.stack((x.expand(h, w), y[:, None].expand(h, w)), -1).flatten(0, 1)


@PIXEL_DECODER_REGISTRY.register_as("MSDeformAttnPixelDecoder")
class MSDeformAttnPixelDecoder(PixelDecoder):
    """Deformable encoder on strides 32, 16, 8; one lateral step to stride 4 makes the mask features.

    Args:
        channels: widths of "res2" … "res5".
        dim: width C.
        mask_dim: width of the mask features.
        layers, heads, points, feedforward: of the deformable encoder.
    """

    masks_padding = True

    @configurable
    def __init__(
        self,
        channels: Mapping[str, int],
        *,
        dim: int = 256,
        mask_dim: int = 256,
        layers: int = 6,
        heads: int = 8,
        points: int = 4,
        feedforward: int = 1024,
    ) -> None:
        super().__init__()
        coarse = ("res5", "res4", "res3")
        projections = [nn.Conv2d(channels[name], dim, 1) for name in coarse]
        for projection in projections:
            nn.init.xavier_uniform_(projection.weight)
            if projection.bias is not None:
                nn.init.zeros_(projection.bias)
        self.input_proj = nn.ModuleList(nn.Sequential(p, GroupNorm(32, dim)) for p in projections)
        self.transformer = DeformableEncoder(dim, feedforward, layers, len(coarse), heads, points)
        self.adapter_1 = Conv2d(channels["res2"], dim, 1, bias=False, norm=GroupNorm(32, dim))
        self.layer_1 = Conv2d(dim, dim, 3, padding=1, bias=False, norm=GroupNorm(32, dim), activation=F.relu_)
        self.mask_features = Conv2d(dim, mask_dim, 1)
        for conv in (self.adapter_1, self.layer_1, self.mask_features):
            nn.init.kaiming_uniform_(conv.weight, a=1)
        nn.init.zeros_(self.mask_features.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """Read MODEL.SEM_SEG_HEAD."""
        head = cfg.MODEL.SEM_SEG_HEAD
        return {
            "channels": {name: spec.channels for name, spec in input_shape.items()},
            "dim": head.CONVS_DIM,
            "mask_dim": head.MASK_DIM,
            "layers": head.TRANSFORMER_ENC_LAYERS,
            "heads": head.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS,
            "points": head.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS,
            "feedforward": head.TRANSFORMER_ENC_DIM_FEEDFORWARD,
        }

    def forward(self, features: Mapping[str, Tensor], padding: Padding | None = None) -> tuple[Tensor, list[Tensor]]:
        """Decode feature maps; see :meth:`PixelDecoder.forward`.

        Outputs are float32, except for inference in bfloat16.
        """
        lateral, scales = self.features(features, padding)
        with full_precision(lateral.device):
            return on_images(padding, self.mask_features, lateral), scales

    def unprojected(self, features: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor], nn.Conv2d | None]:
        """Decode feature maps for inference; see :meth:`PixelDecoder.unprojected`."""
        return *self.features(features), self.mask_features

    def features(self, features: Mapping[str, Tensor], padding: Padding | None = None) -> tuple[Tensor, list[Tensor]]:
        """Do what :meth:`forward` does but for the last projection: (B, C, H/4, W/4) in place of the mask features."""
        with full_precision(features["res2"].device):
            coarse = zip(self.input_proj, ("res5", "res4", "res3"))
            sources = [on_images(padding, p, unless_autocast(features[n])) for p, n in coarse]
            scales = self.transformer(sources, padding)
            return on_images(padding, self._lateral, unless_autocast(features["res2"]), scales[-1]), scales

    def _lateral(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Add the upsampled stride 8 (B, C, h, w) to the projected stride 4 (B, C2, 2·h, 2·w)."""
        lateral = self.adapter_1(fine)
        up = F.interpolate(coarse, size=lateral.shape[-2:], mode="bilinear", align_corners=False)
        return self.layer_1(lateral + up)
