"""CLIPSeg's decoder: a few CLIP activations, a prompt, and a small transformer make a mask (Lüddecke & Ecker 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Variant:
    """A published shape of the decoder.

    Attributes:
        clip: open_clip's name of its tower. layers: the blocks of it that are read. dim: D.
        film_everywhere: the prompt modulates every layer, not only the deepest.
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
    """Feature-wise linear modulation (Dumoulin et al. 2018): a prompt scales and shifts every channel."""

    def __init__(self, condition_dim: int, dim: int) -> None:
        super().__init__()
        self.mul = nn.Linear(condition_dim, dim)
        self.add = nn.Linear(condition_dim, dim)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x: (B, L, D). condition: (B, E)."""
        return self.mul(condition)[:, None] * x + self.add(condition)[:, None]


def _head(dim: int, kernels: Sequence[int]) -> nn.Module:
    """(B, D, h, w) to (B, 1, h·k, w·k), with k the product of the kernels."""
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


class CLIPSegDecoder(nn.Module):
    """Adds projected activations deepest first, with a prompt and a post-norm transformer layer at each.

    Args:
        width: channels C of the activations. depth: how many there are.
        dim: D. condition_dim: E. heads must divide D.
        film_everywhere: one FiLM before each layer, the same for all of them; otherwise before the deepest's only.
        kernels: one transposed convolution, or a 3 x 3 convolution and two transposed ones; their product is ``stride``,
            which has to be the patch of the tower for masks in pixels.
        dropout: of the transformer layers. CLIPSeg was trained with PyTorch's default of 0.1.
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
        **options: Any,
    ) -> CLIPSegDecoder:
        """A decoder of :data:`VARIANTS`; width and condition_dim are those of ViT-B.

        Args:
            depth, kernels: in place of the variant's, for another tower. options: feedforward, dropout.

        Raises:
            ValueError: no such variant.
        """
        if variant not in VARIANTS:
            raise ValueError(f"No CLIPSeg variant '{variant}'; there are {', '.join(VARIANTS)}.")
        v = VARIANTS[variant]
        shape = dict(dim=v.dim, film_everywhere=v.film_everywhere, kernels=kernels or v.kernels)
        return cls(width=width, depth=depth or len(v.layers), condition_dim=condition_dim, **shape, **options)

    def forward(
        self, activations: Sequence[Tensor], condition: Tensor, grid: tuple[int, int], owner: Tensor | None = None
    ) -> Tensor:
        """
        Args:
            activations: (B, L + h·w, C), shallowest first; L leading tokens (CLS) take part in attention and are
                dropped after it.
            condition: (N, E) one prompt a mask. grid: (h, w).
            owner: (N,) int64, the image of each prompt; None: prompt i is about image i.

        Returns:
            (N, h·stride, w·stride) mask logits.

        Raises:
            ValueError: another number of activations than layers, or of prompts than images.
        """
        if len(activations) != len(self.layers):
            raise ValueError(f"The decoder reads {len(self.layers)} activations, not {len(activations)}.")
        if owner is None and len(condition) != len(activations[0]):
            raise ValueError(f"{len(condition)} prompts for {len(activations[0])} images, and no owner is given.")
        x: Tensor | None = None
        for index, (activation, reduce, layer) in enumerate(zip(reversed(activations), self.reduces, self.layers)):
            reduced = reduce(activation)
            reduced = reduced if owner is None else reduced[owner]
            x = reduced if x is None else reduced + x
            if index == 0 or self.film_everywhere:
                x = self.film(x, condition)
            x = layer(x)
        h, w = grid
        cells = x[:, x.shape[1] - h * w :].transpose(1, 2).unflatten(2, (h, w))  # (N, D, h, w)
        return self.head(cells)[:, 0]
