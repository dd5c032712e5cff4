"""CLIPSeg's decoder: a small transformer on a few CLIP activations and a prompt (Lüddecke & Ecker 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from detectron2.config import CfgNode
from torch import Tensor, nn

from ..clip.vit import CLIPViT, token_maps
from ..registries import REFERRING_DECODER_REGISTRY
from .interface import ReferringDecoder, check_image_size, check_prompts, naming, select_owner


@dataclass(frozen=True)
class Variant:
    """A published size of the decoder.

    Attributes:
        clip: open_clip's name of its tower.
        layers: blocks of the tower that are read.
        dim: width D.
        film_everywhere: whether the prompt modulates every layer, not only the deepest.
        kernels: of the transposed convolutions; their product is the tower's patch.
    """

    clip: str
    layers: tuple[int, ...]
    dim: int
    film_everywhere: bool
    kernels: tuple[int, ...]


VARIANTS = {
    "model0": Variant("ViT-B-32", (2, 4, 6, 8, 10), 128, True, (4, 8)),
    "model1": Variant("ViT-B-32", (3, 6, 9), 64, False, (4, 8)),
    "model2": Variant("ViT-B-32", (8, 9, 10, 11), 128, True, (4, 8)),
    "rd64": Variant("ViT-B-16", (3, 6, 9), 64, False, (16,)),
    "rd64-refined": Variant("ViT-B-16", (3, 6, 9), 64, False, (4, 4)),
}


class FiLM(nn.Module):
    """Feature-wise linear modulation (Dumoulin et al. 2018): a prompt scales and shifts every channel.

    Args:
        condition_dim: width E of the prompt.
        dim: channels D.
    """

    def __init__(self, condition_dim: int, dim: int) -> None:
        super().__init__()
        self.mul = nn.Linear(condition_dim, dim)
        self.add = nn.Linear(condition_dim, dim)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Modulate (N, L, D) by prompts (N, E)."""
        return self.mul(condition)[:, None] * x + self.add(condition)[:, None]


def _head(dim: int, kernels: Sequence[int]) -> nn.Module:
    """Build what maps (N, D, h, w) to (N, 1, h·k, w·k), with k the product of the kernels."""
    if len(kernels) == 1:
        return nn.ConvTranspose2d(dim, 1, kernels[0], stride=kernels[0])
    if len(kernels) != 2:
        raise ValueError(f"CLIPSeg's decoder has one or two transposed convolutions, not {len(kernels)}.")
    return nn.Sequential(
        nn.Conv2d(dim, dim, 3, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(dim, dim // 2, kernels[0], stride=kernels[0]),
        nn.ReLU(),
        nn.ConvTranspose2d(dim // 2, 1, kernels[1], stride=kernels[1]),
    )


class CLIPSegDecoder(ReferringDecoder):
    """Add projected activations deepest first, each followed by a post-norm transformer layer.

    Args:
        width: channels C of the activations.
        depth: number of activations.
        dim: width D, divisible by ``heads``.
        condition_dim: width E of the prompts.
        film_everywhere: whether the one FiLM comes before every layer, or before the deepest only.
        kernels: one transposed convolution, or a 3 x 3 convolution and two transposed ones; their product is
            ``stride``, which must be the tower's patch.
        heads: of the transformer layers.
        feedforward: hidden width of the transformer layers.
        dropout: of the transformer layers. CLIPSeg was trained with PyTorch's default of 0.1.

    Example:
        >>> import torch
        >>> decoder = CLIPSegDecoder(width=12, depth=2, dim=8, condition_dim=6, kernels=(2, 4))
        >>> activations = [torch.zeros(1, 1 + 3 * 5, 12)] * 2  # CLS and 3 x 5 cells
        >>> decoder(activations, condition=torch.zeros(1, 6), grid=(3, 5)).shape
        torch.Size([1, 24, 40])
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        dim: int = 64,
        condition_dim: int = 512,
        film_everywhere: bool = False,
        kernels: Sequence[int] = (4, 4),
        heads: int = 4,
        feedforward: int = 2048,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.film_everywhere = film_everywhere
        self.stride = prod(kernels)
        self.film = FiLM(condition_dim, dim)
        self.reduces = nn.ModuleList(nn.Linear(width, dim) for _ in range(depth))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, feedforward, dropout, batch_first=True) for _ in range(depth)
        )
        self.head = _head(dim, kernels)

    @classmethod
    def build(
        cls,
        variant: str,
        *,
        width: int = 768,
        condition_dim: int = 512,
        depth: int | None = None,
        kernels: Sequence[int] | None = None,
        feedforward: int = 2048,
        dropout: float = 0.0,
    ) -> CLIPSegDecoder:
        """Build a decoder of :data:`VARIANTS`.

        Args:
            variant: its name.
            width, condition_dim: of the tower; the defaults are those of ViT-B.
            depth, kernels: in place of the variant's, for another tower.
            feedforward, dropout: see the class.

        Raises:
            ValueError: If there is no such variant.
        """
        if variant not in VARIANTS:
            raise ValueError(f"Unknown CLIPSeg variant '{variant}'. Fix: choose one of {', '.join(VARIANTS)}.")
        published = VARIANTS[variant]
        return cls(
            width=width,
            depth=depth or len(published.layers),
            dim=published.dim,
            condition_dim=condition_dim,
            film_everywhere=published.film_everywhere,
            kernels=kernels or published.kernels,
            feedforward=feedforward,
            dropout=dropout,
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> tuple[CLIPViT, CLIPSegDecoder]:
        """Build a ViT and the variant MODEL.REFERRING.DECODER; see :meth:`ReferringDecoder.from_config`."""
        clip_cfg, settings = cfg.MODEL.FC_CLIP, cfg.MODEL.REFERRING
        layers = list(settings.CLIP_LAYERS) or VARIANTS[settings.DECODER].layers
        with naming("MODEL.REFERRING.CLIP_LAYERS", "MODEL.FC_CLIP.CLIP_MODEL_NAME"):
            clip = CLIPViT.build(clip_cfg.CLIP_MODEL_NAME, clip_cfg.CLIP_PRETRAINED_WEIGHTS, layers=layers)
        check_image_size(cfg, clip.patch)
        with naming("MODEL.REFERRING.KERNELS"):
            decoder = cls.build(
                settings.DECODER,
                width=clip.width,
                condition_dim=clip.embed_dim,
                depth=len(clip.layers),
                kernels=tuple(settings.KERNELS) or None,
                feedforward=settings.FEEDFORWARD,
                dropout=settings.DROPOUT,
            )
        if decoder.stride != clip.patch:
            raise ValueError(
                f"MODEL.REFERRING.DECODER='{settings.DECODER}': it makes {decoder.stride} pixels of a cell, but this "
                f"CLIP's patch is {clip.patch}. Fix: give MODEL.REFERRING.KERNELS with that product."
            )
        return clip, decoder

    def masks(
        self, clip: CLIPViT, images: Tensor, features: list[Tensor], condition: Tensor, owner: Tensor | None
    ) -> Tensor:
        """Decode masks; see :meth:`ReferringDecoder.masks`."""
        return self(features, condition, clip.grid(*images.shape[-2:]), owner)

    def forward(
        self, activations: Sequence[Tensor], condition: Tensor, grid: tuple[int, int], owner: Tensor | None = None
    ) -> Tensor:
        """Decode masks.

        Args:
            activations: (B, L + h·w, C), shallowest first; L leading tokens (CLS) take part in attention and are
                dropped after it.
            condition: (N, E) one prompt per mask.
            grid: (h, w).
            owner: (N,) int64, the image of each prompt; None: prompt i belongs to image i.

        Returns:
            (N, h·stride, w·stride) mask logits.

        Raises:
            ValueError: If the number of activations is not that of layers, or that of prompts not that of images.
        """
        if len(activations) != len(self.layers):
            raise ValueError(f"The decoder reads {len(self.layers)} activations, not {len(activations)}.")
        check_prompts(condition, len(activations[0]), owner)
        deepest, *others = (
            select_owner(reduce(activation), owner) for activation, reduce in zip(reversed(activations), self.reduces)
        )
        x = self.layers[0](self.film(deepest, condition))
        for reduced, layer in zip(others, self.layers[1:]):
            x = reduced + x
            x = layer(self.film(x, condition) if self.film_everywhere else x)
        (cells,) = token_maps([x], grid)  # (N, D, h, w)
        return self.head(cells)[:, 0]


for _variant in VARIANTS:
    REFERRING_DECODER_REGISTRY.register_as(_variant)(CLIPSegDecoder)
