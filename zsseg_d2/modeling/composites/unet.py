"""The default network of composites: a U-Net with same padding, skip connections and two heads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registries import COMPOSITE_NET_REGISTRY
from .interface import CompositeNet, Maps

_STAGES = 5
_GROUP = 8  # channels that are normalized together


def _block(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3×3 convolutions, each with a norm that sees one image alone, and ReLU."""
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1, bias=False)]
        layers += [nn.GroupNorm(max(1, outputs // _GROUP), outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet(CompositeNet):
    """The U-Net of Ronneberger et al. (2015) with same padding, group norm and a head for each output.

    Its five stages have c, 2c, 4c, 8c and 16c channels. Images of any size are padded to a multiple of 16 with their
    border pixels, and the outputs are cut to the images' size.

    Args:
        channels: of the input.
        depth: whether there is a depth head.
        width: c.
    """

    stride = 2 ** (_STAGES - 1)

    def __init__(self, channels: int, depth: bool = True, *, width: int = 16) -> None:
        super().__init__()
        widths = [width * 2**k for k in range(_STAGES)]
        self.encoder = nn.ModuleList(_block(i, o) for i, o in zip([channels, *widths], widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(o, i, 2, stride=2) for i, o in zip(widths, widths[1:]))
        self.decoder = nn.ModuleList(_block(2 * w, w) for w in widths[:-1])
        self.mask_head = nn.Conv2d(width, 1, 1)
        self.depth_head = nn.Conv2d(width, 1, 1) if depth else None
        self.to(memory_format=torch.channels_last)  # a step on the CPU takes a fifth less time

    def forward(self, images: Tensor) -> Maps:
        """Compute the logits (B, H, W) of (B, C, H, W) normalized images of any size."""
        height, width = images.shape[-2:]
        x = F.pad(images, (0, -width % self.stride, 0, -height % self.stride), mode="replicate")
        x = x.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for stage in self.encoder:
            x = stage(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        for up, stage, skip in zip(reversed(self.up), reversed(self.decoder), reversed(skips[:-1])):
            x = stage(torch.cat([skip, up(x)], 1))
        x = x[..., :height, :width]
        return Maps(self.mask_head(x)[:, 0], None if self.depth_head is None else self.depth_head(x)[:, 0])


@COMPOSITE_NET_REGISTRY.register_as("unet_small")
class SmallUNet(UNet):
    """The U-Net of width 8: 0.5 million parameters."""

    def __init__(self, channels: int, depth: bool = True) -> None:
        super().__init__(channels, depth, width=8)


@COMPOSITE_NET_REGISTRY.register_as("unet")
class MediumUNet(UNet):
    """The U-Net of width 16: 2 million parameters."""

    def __init__(self, channels: int, depth: bool = True) -> None:
        super().__init__(channels, depth, width=16)


@COMPOSITE_NET_REGISTRY.register_as("unet_large")
class LargeUNet(UNet):
    """The U-Net of width 32: 8 million parameters."""

    def __init__(self, channels: int, depth: bool = True) -> None:
        super().__init__(channels, depth, width=32)
