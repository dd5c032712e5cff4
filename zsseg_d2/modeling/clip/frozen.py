"""A frozen CLIP that is conditioned by prompts: texts and images to one embedding space, and their mixtures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from .backbone import dense_features, text_embeddings
from .loading import build_tokenizer, create_clip, resolve_clip_name

Tokenizer = Callable[[list[str]], Tensor]
"""Strings to (len, context) int64 tokens."""


def resize_positions(positions: Tensor, native: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Position embeddings of another grid, bicubic as in CLIPSeg; those of leading tokens stay as they are.

    Args:
        positions: (L + h0·w0, C), row by row after L leading tokens. native: (h0, w0). grid: (h, w).

    Returns:
        (L + h·w, C).
    """
    if tuple(native) == tuple(grid):
        return positions
    cells = native[0] * native[1]
    leading, own = positions[:-cells], positions[-cells:]
    image = own.T.unflatten(1, native)[None].float()
    resized = F.interpolate(image, size=grid, mode="bicubic", align_corners=False)
    return torch.cat((leading, resized[0].flatten(1).T.to(positions.dtype)))


def mix_conditions(text: Tensor, image: Tensor, share: float | Tensor) -> Tensor:
    """``share · text + (1 - share) · image``, as CLIPSeg blends its two kinds of prompts (Lüddecke & Ecker 2022).

    Args:
        text, image: (B, E). share: of the text, in [0, 1]; a number, or (B,).

    Returns:
        (B, E).

    Raises:
        ValueError: embeddings of different shapes, or a share outside [0, 1].
    """
    if text.shape != image.shape:
        raise ValueError(f"Text prompts {tuple(text.shape)} and image prompts {tuple(image.shape)} cannot be mixed.")
    share = torch.as_tensor(share, dtype=text.dtype, device=text.device)
    if not ((share >= 0) & (share <= 1)).all():
        raise ValueError(f"The share of the text prompt must lie in [0, 1], not {share.tolist()}.")
    return torch.lerp(image, text, share[:, None] if share.ndim else share)


def _text_width(clip: nn.Module) -> int:
    """E, from whichever kind of text tower open_clip built."""
    if hasattr(clip, "text"):
        return clip.text.output_dim
    projection = clip.text_projection
    return projection.out_features if isinstance(projection, nn.Linear) else projection.shape[-1]


class FrozenCLIP(nn.Module):
    """An open_clip model, always in eval mode and without gradients.

    Embeddings of prompts are CLIP's projections as they are, not normalised, which is what CLIPSeg's FiLM expects.

    Args:
        clip_model: the open_clip model. tokenizer: its tokenizer; None where only tokens are embedded.
    """

    def __init__(self, clip_model: nn.Module, tokenizer: Tokenizer | None) -> None:
        super().__init__()
        self.clip_model = clip_model
        self.tokenizer = tokenizer
        self.embed_dim = _text_width(clip_model)
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def build(cls, name: str, weights: str = "", **options: Any) -> FrozenCLIP:
        """By name, as :func:`zsseg_d2.modeling.clip.loading.create_clip` does it; ``options`` go to the class.

        Raises:
            ValueError, FileNotFoundError: no such model; weights that are missing or do not fit.
        """
        name = resolve_clip_name(name)
        return cls(create_clip(name, weights), build_tokenizer(name), **options)

    @property
    def device(self) -> torch.device:
        return self.clip_model.logit_scale.device

    def train(self, mode: bool = True) -> FrozenCLIP:
        """CLIP stays in eval mode: frozen batch norm, no dropout."""
        return super().train(False)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """(len(texts), E) float32, not normalised."""
        return self.embed_tokens(self.tokenizer(list(texts)))

    @torch.no_grad()
    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Like :meth:`embed_texts`, from (len, context) int64 tokens on any device."""
        with torch.autocast(self.device.type, enabled=False):
            return text_embeddings(self.clip_model, tokens.to(self.device)).float()

    def embed_images(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images, as prompts, to (B, E), not normalised."""
        raise NotImplementedError


class CLIPPyramid(FrozenCLIP):
    """The four stages of a ResNet or ConvNeXt image tower, finest first.

    ``widths`` are their channels, ``strides`` their pixels a cell.
    """

    strides = (4, 8, 16, 32)

    def __init__(self, clip_model: nn.Module, tokenizer: Tokenizer | None) -> None:
        super().__init__(clip_model, tokenizer)
        visual = clip_model.visual
        if not (hasattr(visual, "attnpool") or hasattr(getattr(visual, "trunk", None), "stages")):
            raise ValueError("This CLIP has no ResNet or ConvNeXt image tower, and so no stages of four strides.")
        # A look at the smallest image spares knowing how each family names its channels.
        self.widths = tuple(x.shape[1] for x in self(torch.zeros(1, 3, 32, 32, device=self.device)))

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """
        Args:
            images: (B, 3, H, W) normalised; H and W multiples of 32.

        Returns:
            Four maps (B, C, H / stride, W / stride).
        """
        features = dense_features(self.clip_model.visual, images)
        return [features[stage] for stage in ("res2", "res3", "res4", "res5")]

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        """CLIP's embedding of whole images; H and W are multiples of 32."""
        visual = self.clip_model.visual
        pool = getattr(visual, "attnpool", None)
        if pool is None:
            return visual(images).float()
        side = int((len(pool.positional_embedding) - 1) ** 0.5)
        grid = images.shape[-2] // 32, images.shape[-1] // 32
        positions = resize_positions(pool.positional_embedding, (side, side), grid)
        return functional_call(visual, {"attnpool.positional_embedding": positions}, (images,)).float()
