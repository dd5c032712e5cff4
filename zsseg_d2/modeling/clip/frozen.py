"""Frozen CLIPs for phrase segmentation: texts and images in one embedding space, and their mixtures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from .context import Tokenizer, warn_of_cut_texts
from .loading import build_tokenizer, create_clip, resolve_clip_name
from .text import separate_text_embeddings, text_width
from .towers import STAGES, STRIDES, find_tower


def mix_conditions(text: Tensor, image: Tensor, share: float | Tensor) -> Tensor:
    """Blend text and image prompts: share · text + (1 - share) · image (CLIPSeg, Lüddecke & Ecker 2022).

    Args:
        text, image: (B, E).
        share: share of the text in [0, 1]; a number, or (B,).

    Returns:
        (B, E).

    Raises:
        ValueError: If the shapes differ, or a share lies outside [0, 1].

    Example:
        >>> mix_conditions(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), 0.25)
        tensor([[0.2500, 1.5000]])
    """
    if text.shape != image.shape:
        raise ValueError(
            f"Text prompts {tuple(text.shape)} and image prompts {tuple(image.shape)} cannot be mixed: other shapes."
        )
    share = torch.as_tensor(share, dtype=text.dtype, device=text.device)
    if not ((share >= 0) & (share <= 1)).all():
        raise ValueError(f"The share of the text prompt must lie in [0, 1], not {share.tolist()}.")
    return torch.lerp(image, text, share[:, None] if share.ndim else share)


class FrozenCLIP(nn.Module):
    """An open_clip model, always in eval mode and without gradients.

    Embeddings of prompts are CLIP's projections, not normalised, which is what CLIPSeg's FiLM expects.

    Args:
        clip_model: the open_clip model.
        tokenizer: its tokenizer; None if only tokens are embedded.

    Attributes:
        embed_dim: width E of the embedding.
    """

    clip_model: Any  # open_clip's models have no common type

    def __init__(self, clip_model: nn.Module, tokenizer: Tokenizer | None) -> None:
        super().__init__()
        self.clip_model = clip_model
        self.tokenizer = tokenizer
        self.embed_dim = text_width(clip_model)
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def build(cls, name: str, weights: str = "", **options: Any) -> Self:
        """Build the model by name.

        Args:
            name: see :func:`zsseg_d2.modeling.clip.loading.resolve_clip_name`.
            weights: see :func:`zsseg_d2.modeling.clip.loading.create_clip`.
            options: further arguments of the class.

        Raises:
            ValueError: If the model is unknown or the weights do not fit it.
            FileNotFoundError: If the weights are missing.
        """
        name = resolve_clip_name(name)
        return cls(create_clip(name, weights), build_tokenizer(name), **options)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.clip_model.logit_scale.device

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: frozen batch norm, no dropout."""
        return super().train(False)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as (len(texts), E) float32, not normalised; a text's row does not depend on the other texts."""
        if self.tokenizer is None:
            raise ValueError("This CLIP was built without a tokenizer. Fix: embed tokens, or give it one.")
        warn_of_cut_texts(self.tokenizer, texts)
        return self.embed_tokens(self.tokenizer(list(texts)))

    @torch.no_grad()
    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Embed (len, context) int64 tokens on any device as :meth:`embed_texts` does."""
        with torch.autocast(self.device.type, enabled=False):
            return separate_text_embeddings(self.clip_model, tokens.to(self.device)).float()

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed (B, 3, H, W) normalised images as prompts (B, E), not normalised."""
        raise NotImplementedError


class CLIPPyramid(FrozenCLIP):
    """The four stages of a convolutional image tower, finest first.

    Attributes:
        widths: channels of the stages.
        strides: pixels per cell of the stages.

    Raises:
        ValueError: If the model has no convolutional tower.
    """

    strides = STRIDES

    def __init__(self, clip_model: nn.Module, tokenizer: Tokenizer | None) -> None:
        super().__init__(clip_model, tokenizer)
        self.tower = find_tower(self.clip_model.visual)
        self.widths = self.tower.widths

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute the output of the stages.

        Args:
            images: (B, 3, H, W) normalised; H and W multiples of 32.

        Returns:
            Four maps (B, C, H / stride, W / stride).
        """
        features = self.tower.dense_features(images)
        return [features[stage] for stage in STAGES]

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        """Embed (B, 3, H, W) images as (B, E) prompts; H and W are multiples of 32."""
        return self.tower.embed_images(images).float()
