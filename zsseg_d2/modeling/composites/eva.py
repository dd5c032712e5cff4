"""The published network of composites, ``eva``: a U-Net whose decoder pads nothing, so that its output is smaller."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registries import COMPOSITE_NET_REGISTRY
from .interface import CompositeNet, Maps, Window
from .mirror import mirrored_places

_SHRINK = 126  # what the unpadded convolutions take from 16·⌊side / 16⌋
_SKIP_OFFSETS = (60, 28, 12, 4)  # where the decoder's grid begins in the skips of strides 1, 2, 4, 8
_OFFSET = 63  # and where the output begins in the image


def _convolutions(*widths: int, padding: int, up: int = 0) -> nn.Sequential:
    """3×3 convolutions without bias, each with batch norm and ReLU; then a transposed one to `up` channels, if any."""
    layers: list[nn.Module] = []
    for i, o in pairwise(widths):
        layers += [nn.Conv2d(i, o, 3, padding=padding, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
    if up:
        layers.append(nn.ConvTranspose2d(widths[-1], up, 3, 2, padding=1, output_padding=1, bias=False))
    return nn.Sequential(*layers)


def _final(inputs: int) -> nn.Sequential:
    """The last block without its ReLU: what comes out are logits, which must be able to be negative."""
    return _convolutions(inputs, 64, 64, 1, padding=0)[:-1]


@COMPOSITE_NET_REGISTRY.register_as("eva")
class EvaNet(CompositeNet):
    """The published layout: 34,520,514 parameters with 6 input channels and without a depth output.

    Module names are the published ones. The output of an image of side s has the side 16·⌊s / 16⌋ - 126 (192 → 66,
    224 → 98), and begins 63 pixels inside the image. Two faults are not repeated: the last block ends without ReLU,
    and skips are cut where they lie over the decoder's grid, for any side.

    Args:
        channels: of the input.
        depth: whether there is a depth output: one more last block, ``convblock_depth``, of 111,426 parameters.
    """

    def __init__(self, channels: int, depth: bool = True) -> None:
        super().__init__()
        self.convblock1 = _convolutions(channels, 64, 64, padding=1)
        self.convblock2 = _convolutions(64, 128, 128, padding=1)
        self.convblock3 = _convolutions(128, 256, 256, padding=1)
        self.convblock4 = _convolutions(256, 512, 512, padding=1)
        self.base = _convolutions(512, 1024, 1024, padding=0, up=512)
        self.convblock5 = _convolutions(1024, 512, 512, padding=0, up=256)
        self.convblock6 = _convolutions(512, 256, 256, padding=0, up=128)
        self.convblock7 = _convolutions(256, 128, 128, padding=0, up=64)
        self.convblock_final = _final(128)
        self.convblock_depth = _final(128) if depth else None

    def forward(self, images: Tensor) -> Maps:
        """Compute the logits (B, h, w) of the :meth:`window` of (B, C, H, W) normalized images.

        Raises:
            ValueError: see :meth:`window`.
        """
        self.window(*images.shape[-2:])
        skips: list[Tensor] = []
        x = images
        for block in (self.convblock1, self.convblock2, self.convblock3, self.convblock4):
            skips.append(block(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self._join(self.base(x), skips, 3)
        x = self._join(self.convblock5(x), skips, 2)
        x = self._join(self.convblock6(x), skips, 1)
        x = self._join(self.convblock7(x), skips, 0)
        depth = None if self.convblock_depth is None else self.convblock_depth(x)[:, 0]
        return Maps(self.convblock_final(x)[:, 0], depth)

    @staticmethod
    def _join(x: Tensor, skips: list[Tensor], stage: int) -> Tensor:
        start, (height, width) = _SKIP_OFFSETS[stage], x.shape[-2:]
        return torch.cat([x, skips[stage][..., start : start + height, start : start + width]], 1)

    def window(self, height: int, width: int) -> Window:
        """Return the part of an (height, width) image that the output covers; see :meth:`CompositeNet.window`."""
        sides = [16 * (side // 16) - _SHRINK for side in (height, width)]
        if min(sides) < 1:
            raise ValueError(
                f"An image of {width}x{height} pixels leaves the net 'eva' no output: its unpadded convolutions take "
                f"{_SHRINK} pixels. Fix: images of at least 128x128, such as 192 (output 66) or 224 (output 98)."
            )
        return Window(_OFFSET, _OFFSET, *sides)

    def whole(self, images: Tensor) -> Maps:
        """Compute logits (B, H, W) of every pixel; around the image lies its mirror image (Ronneberger et al. 2015)."""
        height, width = images.shape[-2:]
        found = self(_mirrored(_mirrored(images, -2), -1))
        depth = None if found.depth is None else found.depth[..., :height, :width]
        return Maps(found.mask[..., :height, :width], depth)


def _mirrored(images: Tensor, dimension: int) -> Tensor:
    """Continue images by reflection, so that the net's output covers `dimension`; also where they are very small."""
    side = images.shape[dimension]
    total = -(-(side + _SHRINK) // 16) * 16
    return images.index_select(dimension, mirrored_places(-_OFFSET, total - _OFFSET, side, images.device))
