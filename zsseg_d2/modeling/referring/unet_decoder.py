"""A U-Net on a frozen CLIP: maps of several depths join a growing grid, and the prompt modulates each stage."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import gcd

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import Tensor, nn

from ..clip.frozen import CLIPPyramid, FrozenCLIP
from ..clip.loading import build_tokenizer, create_clip, resolve_clip_name
from ..clip.vit import CLIPViT, count_blocks, token_maps
from ..registries import REFERRING_DECODER_REGISTRY
from .interface import ReferringDecoder, check_image_size, check_prompts, naming, select_owner, spread_layers

logger = logging.getLogger(__name__)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _norm(channels: int) -> nn.GroupNorm:
    """Build a group norm, because batches of dense prediction are too small for batch norm."""
    return nn.GroupNorm(gcd(8, channels), channels)


class UNetStage(nn.Module):
    """Join the map from below with one of CLIP's, then two 3 x 3 convolutions; FiLM by the prompt after the first.

    Args:
        below: channels of the map from below, 0 at the deepest stage.
        skip: channels of CLIP's map.
        dim: channels out.
        condition_dim: width E of the prompts.
        hints: channels of hints, 0 or 1.
    """

    def __init__(self, below: int, skip: int, dim: int, condition_dim: int, hints: int = 0) -> None:
        super().__init__()
        self.skip = nn.Conv2d(skip, dim, 1)
        self.conv1 = nn.Conv2d(below + dim + hints, dim, 3, padding=1, bias=False)
        self.norm1 = _norm(dim)
        self.film = nn.Linear(condition_dim, 2 * dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.norm2 = _norm(dim)
        # At first the prompt changes nothing, so no random modulation has to be unlearned.
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(
        self,
        below: Tensor | None,
        skip: Tensor,
        condition: Tensor,
        size: tuple[int, int],
        owner: Tensor | None,
        hint: Tensor | None = None,
    ) -> Tensor:
        """Compute the stage's map.

        Args:
            below: (N, C', h', w') or None.
            skip: (B, C, h, w).
            condition: (N, E).
            size: the stage's grid.
            owner: (N,) the image of each prompt, or None.
            hint: (N, 1, h'', w'') or None.

        Returns:
            (N, dim, *size).
        """
        # The projection comes first: it is the same for all prompts of an image, and smaller to resize.
        x = select_owner(_resize(self.skip(skip), size), owner)
        parts = [_resize(part, size) for part in (below, hint) if part is not None]
        x = torch.cat((*parts, x), 1) if parts else x
        scale, shift = self.film(condition)[..., None, None].chunk(2, 1)  # (N, dim, 1, 1)
        x = F.relu((1 + scale) * self.norm1(self.conv1(x)) + shift)
        return F.relu(self.norm2(self.conv2(x)))


class PixelStem(nn.Module):
    """A fine map of the image itself, for towers without one (UNETR, Hatamizadeh et al. 2022, figure 2).

    Args:
        dim: channels out.
        stride: a power of 2, at least 2.
    """

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        steps = max(1, stride.bit_length() - 1)
        widths = [3, *[max(8, dim // 2)] * (steps - 1), dim]
        layers: list[nn.Module] = []
        for k in range(steps):
            layers += [
                nn.Conv2d(widths[k], widths[k + 1], 3, stride=2, padding=1, bias=False),
                _norm(widths[k + 1]),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images to (B, dim, H / stride, W / stride)."""
        return self.layers(images)


@REFERRING_DECODER_REGISTRY.register_as("unet")
class UNetDecoder(ReferringDecoder):
    """A U-Net (Ronneberger et al. 2015) whose contracting path is a frozen CLIP.

    Each stage doubles the grid of the one below, up to one cell per pixel. A ResNet's maps have these grids already.
    Those
    of a ViT all have the same grid: they are resized, the shallowest to the finest, and the image itself is finer
        still.

    Args:
        widths: channels of CLIP's maps, shallowest first.
        stride: pixels of a cell of the deepest map.
        condition_dim: width E of the prompts.
        dims: channels of the stages, deepest first, one per map.
        hints: whether every stage also reads a map of where the prompt might be.
        pixels: whether the last stage reads the image itself; ``dims`` then has one more than ``widths``.

    Raises:
        ValueError: If the number of stages is not that of maps.
    """

    stem: PixelStem | None

    def __init__(
        self,
        *,
        widths: Sequence[int],
        stride: int,
        condition_dim: int = 512,
        dims: Sequence[int] = (256, 128, 64, 32),
        hints: bool = False,
        pixels: bool = False,
    ) -> None:
        super().__init__()
        if len(dims) != len(widths) + pixels or not widths:
            raise ValueError(f"A U-Net on {len(widths) + pixels} maps needs as many stage widths, not {tuple(dims)}.")
        self.stem = PixelStem(dims[-1], max(2, stride // 2 ** (len(dims) - 1))) if pixels else None
        widths = (dims[-1], *widths) if pixels else widths
        self.stride, self.hints = stride, hints
        # CLIP's embeddings differ in length from model to model; the stages read them at one scale.
        self.condition_norm = nn.LayerNorm(condition_dim)
        below = (0, *dims)
        self.stages = nn.ModuleList(
            UNetStage(b, skip, dim, condition_dim, int(hints)) for b, skip, dim in zip(below, reversed(widths), dims)
        )
        self.predict = nn.Conv2d(dims[-1], 1, 1)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> tuple[FrozenCLIP, UNetDecoder]:
        """Build any CLIP and the U-Net on it; see :meth:`ReferringDecoder.from_config`."""
        clip, settings = build_unet_clip(cfg), cfg.MODEL.REFERRING
        if settings.UNET_SIMILARITY and not (isinstance(clip, CLIPViT) and clip.has_cell_embeddings):
            raise ValueError(
                "MODEL.REFERRING.UNET_SIMILARITY=True: it needs a ViT whose embedding is the mean of its cells "
                "(open_clip's pool_type 'avg'), and its last block among MODEL.REFERRING.CLIP_LAYERS. "
                "Fix: set it to False."
            )
        if isinstance(clip, CLIPViT):
            widths, stride = [clip.width] * len(clip.layers), clip.patch
        else:
            widths, stride = list(clip.widths), clip.strides[-1]
        check_image_size(cfg, stride)
        with naming("MODEL.REFERRING.UNET_DIMS"):
            return clip, cls(
                widths=widths,
                stride=stride,
                condition_dim=clip.embed_dim,
                dims=settings.UNET_DIMS,
                hints=settings.UNET_SIMILARITY,
                pixels=isinstance(clip, CLIPViT),
            )

    def masks(
        self, clip: FrozenCLIP, images: Tensor, features: list[Tensor], condition: Tensor, owner: Tensor | None
    ) -> Tensor:
        """Decode masks; see :meth:`ReferringDecoder.masks`."""
        if not isinstance(clip, CLIPViT):
            return self(features, condition, owner)
        grid = clip.grid(*images.shape[-2:])
        hint = clip.similarity(features[-1], condition, grid, owner) if self.hints else None
        return self(token_maps(features, grid), condition, owner, hint, images)

    def forward(
        self,
        maps: Sequence[Tensor],
        condition: Tensor,
        owner: Tensor | None = None,
        hint: Tensor | None = None,
        images: Tensor | None = None,
    ) -> Tensor:
        """Decode masks.

        Args:
            maps: (B, C, h, w), shallowest first.
            condition: (N, E) one prompt per mask.
            owner: (N,) int64, the image of each prompt; None: prompt i belongs to image i.
            hint: (N, h, w), only for a decoder with hints.
            images: (B, 3, H, W), only for a decoder with pixels.

        Returns:
            (N, h·stride, w·stride) mask logits, with the (h, w) of the deepest map.

        Raises:
            ValueError: If the inputs are not those that the decoder was built for.
        """
        if self.stem is not None:
            if images is None:
                raise ValueError("This U-Net reads the image too, but none is given.")
            maps = [self.stem(images), *maps]
        elif images is not None:
            raise ValueError("This U-Net does not read the image, but one is given.")
        if len(maps) != len(self.stages):
            raise ValueError(f"The decoder reads {len(self.stages)} maps, not {len(maps)}.")
        check_prompts(condition, len(maps[0]), owner)
        if (hint is not None) != self.hints:
            raise ValueError(
                "This U-Net reads hints, but none is given." if self.hints else "This U-Net does not read hints."
            )
        hint = hint[:, None] if hint is not None else None
        condition = self.condition_norm(condition)
        h, w = maps[-1].shape[-2:]
        x: Tensor | None = None
        for index, (skip, stage) in enumerate(zip(reversed(maps), self.stages)):
            times = min(2**index, self.stride)
            x = stage(x, skip, condition, (h * times, w * times), owner, hint)
        return _resize(self.predict(x), (h * self.stride, w * self.stride))[:, 0]


def build_unet_clip(cfg: CfgNode) -> CLIPPyramid | CLIPViT:
    """Build the frozen CLIP of a U-Net: the stages of a convolutional tower, or blocks of a ViT.

    Raises:
        ValueError: If the model is unknown or does not have the layers.
    """
    clip_cfg, settings = cfg.MODEL.FC_CLIP, cfg.MODEL.REFERRING
    name = resolve_clip_name(clip_cfg.CLIP_MODEL_NAME)
    model, tokenizer = create_clip(name, clip_cfg.CLIP_PRETRAINED_WEIGHTS), build_tokenizer(name)
    layers, blocks = list(settings.CLIP_LAYERS), count_blocks(model)
    with naming("MODEL.REFERRING.CLIP_LAYERS", "MODEL.FC_CLIP.CLIP_MODEL_NAME"):
        if blocks:
            # The finest stage reads the image itself.
            return CLIPViT(model, tokenizer, layers or spread_layers(blocks, len(settings.UNET_DIMS) - 1))
        if layers:
            logger.warning(
                "MODEL.REFERRING.CLIP_LAYERS has no effect: it names blocks of a ViT, and this CLIP has none."
            )
        return CLIPPyramid(model, tokenizer)
