"""CLIP's ConvNeXt towers: feature maps, and embeddings of regions (Yu et al. 2023, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..padding import Padding
from ..registries import CLIP_TOWER_REGISTRY
from .towers import STAGES, CLIPTower


@CLIP_TOWER_REGISTRY.register_as("ConvNeXt")
class ConvNeXtTower(CLIPTower):
    """timm's ConvNeXts as open_clip wraps them."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__(visual)
        self.widths = tuple(stage.blocks[-1].conv_dw.out_channels for stage in self.visual.trunk.stages)
        linears = [m for m in self.visual.head.modules() if isinstance(m, nn.Linear)]
        self.embed_dim = linears[-1].out_features

    @classmethod
    def fits(cls, visual: nn.Module) -> bool:
        """Return whether ``visual`` has a trunk of stages."""
        return hasattr(getattr(visual, "trunk", None), "stages")

    def dense_features(self, images: Tensor) -> dict[str, Tensor]:
        """Compute feature maps; see :meth:`CLIPTower.dense_features`."""
        # Convolutions are fastest where the channels of a pixel lie together, and so is what reads them as tokens.
        x = self.visual.trunk.stem(images.contiguous(memory_format=torch.channels_last))
        features = {}
        for name, stage in zip(STAGES, self.visual.trunk.stages):
            x = features[name] = stage(x)
        return {**features, "clip_vis_dense": self.visual.trunk.norm_pre(x)}

    def padded_features(self, images: Tensor, padding: Padding) -> dict[str, Tensor]:
        """Compute feature maps of images of several sizes in one pass; see :meth:`CLIPTower.padded_features`.

        Only the convolution at the start of a block reads neighbors.
        """
        x = self.visual.trunk.stem(images.contiguous(memory_format=torch.channels_last))
        features = {}
        for name, stage in zip(STAGES, self.visual.trunk.stages):
            x = stage.downsample(x)
            for block in stage.blocks:
                x = block(padding.clear_(x))
            features[name] = x
        return {**features, "clip_vis_dense": self.visual.trunk.norm_pre(x)}

    def region_embeddings(self, dense: Tensor, inside: Tensor) -> Tensor:
        """Pool the mean of each region and apply CLIP's head; see :meth:`CLIPTower.region_embeddings`."""
        weight = inside.to(dense.dtype)
        pooled = torch.einsum("bchw,bqhw->bqc", dense, weight / (weight.sum((-1, -2), keepdim=True) + 1e-8))
        flat = pooled.flatten(0, 1)[:, :, None, None]
        return self.visual.head(self.visual.trunk.head(flat)).reshape(*pooled.shape[:2], -1)
