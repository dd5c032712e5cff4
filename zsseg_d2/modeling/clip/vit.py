"""Frozen CLIP with a vision transformer: the activations of chosen blocks, for images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from .frozen import FrozenCLIP, Tokenizer
from .positions import resize_positions


def token_maps(tokens: Sequence[Tensor], grid: tuple[int, int]) -> list[Tensor]:
    """Reshape (B, L + h·w, C) tokens to (B, C, h, w) maps, without the L leading ones."""
    h, w = grid
    return [x[:, x.shape[1] - h * w :].transpose(1, 2).unflatten(2, (h, w)) for x in tokens]


def _open_clip_tokens(visual: Any, images: Tensor, positions: Tensor, layers: Sequence[int]) -> list[Tensor]:
    """Run the blocks of open_clip's own VisionTransformer, up to the deepest of ``layers``."""
    patches = visual.conv1(images).flatten(2).transpose(1, 2)  # (B, hw, C)
    leading = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
    x = visual.ln_pre(torch.cat((leading, patches), 1) + positions.to(patches.dtype))
    return visual.transformer.forward_intermediates(x, indices=list(layers), stop_early=True)[1]


def dense_cells(visual: Any, images: Tensor) -> Tensor:
    """Compute the output of open_clip's own VisionTransformer at each cell, before its projection; with gradients.

    Args:
        visual: the image tower of an open_clip model.
        images: (B, 3, H, W) normalised; H and W multiples of the patch.

    Returns:
        (B, C, h, w) of the last block, after the last layer norm.
    """
    grid = images.shape[-2] // visual.patch_size[0], images.shape[-1] // visual.patch_size[1]
    positions = resize_positions(visual.positional_embedding, tuple(visual.grid_size), grid)
    last = len(visual.transformer.resblocks) - 1
    (tokens,) = _open_clip_tokens(visual, images, positions, [last])
    return token_maps([visual.ln_post(tokens)], grid)[0]


def region_means(visual: Any, cells: Tensor, inside: Tensor) -> Tensor:
    """Compute CLIP embeddings of regions, for towers that pool the mean of all cells.

    Args:
        visual: the image tower of an open_clip model.
        cells: (B, C, h, w) of :func:`dense_cells`.
        inside: (B, Q, h, w) bool.

    Returns:
        (B, Q, E), not normalised; 0 for empty regions.
    """
    weight = inside.to(cells.dtype)
    weight = weight / weight.sum((-1, -2), keepdim=True).clamp(min=1)
    return torch.einsum("bchw,bqhw->bqc", cells, weight) @ visual.proj


def _timm_tokens(trunk: Any, images: Tensor, layers: Sequence[int]) -> list[Tensor]:
    """Run the blocks of a timm ViT; its leading tokens, if any, come first."""
    options: dict[str, Any] = dict(stop_early=True, output_fmt="NLC", intermediates_only=True)
    if not trunk.num_prefix_tokens:
        return trunk.forward_intermediates(images, indices=list(layers), **options)
    pairs = trunk.forward_intermediates(images, indices=list(layers), return_prefix_tokens=True, **options)
    return [torch.cat((leading, cells), 1) for cells, leading in pairs]


def _accept_any_size(trunk: Any) -> None:
    """Set up what timm sets up with ``dynamic_img_size``, which open_clip does not pass on."""
    from timm.layers import Format  # here: timm is slow to import

    trunk.dynamic_img_size = True
    trunk.patch_embed.strict_img_size, trunk.patch_embed.flatten = False, False
    trunk.patch_embed.output_fmt = Format.NHWC


def count_blocks(clip_model: nn.Module) -> int:
    """Return the number of blocks of a ViT tower; 0 for another kind."""
    visual: Any = clip_model.visual
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None) or getattr(
        getattr(visual, "trunk", None), "blocks", None
    )
    return len(blocks or ())


class CLIPViT(FrozenCLIP):
    """Activations of chosen blocks of open_clip's or timm's vision transformers, without gradients.

    Position embeddings are resized to the grid of the input.

    Args:
        clip_model: the open_clip model.
        tokenizer: its tokenizer; None if only tokens are embedded.
        layers: indices of blocks, ascending; 0 is the output of the first block, as in CLIPSeg.

    Attributes:
        width: channels C.
        patch: pixels of a cell's side.

    Raises:
        ValueError: If the image tower is not a ViT or does not have these layers.
    """

    def __init__(self, clip_model: nn.Module, tokenizer: Tokenizer | None, layers: Sequence[int]) -> None:
        from timm.layers import PatchEmbed

        super().__init__(clip_model, tokenizer)
        visual = self.clip_model.visual
        self.trunk_is_timm = hasattr(visual, "trunk")
        if self.trunk_is_timm and isinstance(getattr(visual.trunk, "patch_embed", None), PatchEmbed):
            trunk = visual.trunk
            if not (hasattr(trunk, "blocks") and hasattr(trunk, "dynamic_img_size")):
                raise ValueError(f"The blocks of timm's {type(trunk).__name__} cannot be read: it is not a ViT.")
            _accept_any_size(trunk)
            self.width, self.patch, depth = trunk.embed_dim, trunk.patch_embed.patch_size[0], len(trunk.blocks)
        elif hasattr(visual, "conv1") and hasattr(getattr(visual, "transformer", None), "resblocks"):
            self.width, self.patch = visual.conv1.out_channels, visual.patch_size[0]
            depth = len(visual.transformer.resblocks)
        else:
            raise ValueError(f"A ViT image tower is needed, not {type(getattr(visual, 'trunk', visual)).__name__}.")
        self.depth, self.layers = depth, tuple(layers)
        if not self.layers or list(self.layers) != sorted(set(self.layers) & set(range(depth))):
            raise ValueError(f"CLIP layers {self.layers} must ascend within 0 … {depth - 1}, the blocks of this tower.")

    @property
    def has_cell_embeddings(self) -> bool:
        """Whether single cells have embeddings as texts do: the tower pools the mean and its last block is read."""
        visual = self.clip_model.visual
        return not self.trunk_is_timm and visual.pool_type == "avg" and self.layers[-1] == self.depth - 1

    def similarity(self, last: Tensor, texts: Tensor, grid: tuple[int, int], owner: Tensor | None = None) -> Tensor:
        """Compare each cell with a text by CLIP's own cosine, scaled to mean 0 and deviation 1 over an image's cells.

        Args:
            last: (B, L + h·w, C) of the last block.
            texts: (N, E).
            grid: (h, w).
            owner: (N,) int64, the image of each text; None: text i belongs to image i.

        Returns:
            (N, h, w).
        """
        visual, (h, w) = self.clip_model.visual, grid
        with torch.no_grad():
            cells = F.normalize(visual.ln_post(last[:, last.shape[1] - h * w :]) @ visual.proj, dim=-1)
            cells = cells if owner is None else cells[owner]
            cosines = torch.einsum("nle,ne->nl", cells, F.normalize(texts.to(cells.dtype), dim=-1))
            cosines = cosines - cosines.mean(1, keepdim=True)
            if h * w == 1:  # nothing to compare it with
                return cosines.unflatten(1, (1, 1))
            return (cosines / cosines.std(1, keepdim=True).clamp(min=1e-6)).unflatten(1, (h, w))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the (h, w) cells of an image of ``height`` x ``width`` pixels.

        Raises:
            ValueError: If a side is not a multiple of the patch.
        """
        if height % self.patch or width % self.patch or not height or not width:
            raise ValueError(f"An image of {height} x {width} pixels does not divide into patches of {self.patch}.")
        return height // self.patch, width // self.patch

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        visual = self.clip_model.visual
        return resize_positions(visual.positional_embedding, tuple(visual.grid_size), grid)

    def _fit_rotary(self, grid: tuple[int, int]) -> None:
        """Set rotary positions, which timm keeps for one grid only."""
        rope = getattr(self.clip_model.visual.trunk, "rope", None)
        if rope is not None and hasattr(rope, "update_feat_shape"):
            rope.update_feat_shape(list(grid))

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute the activations.

        Args:
            images: (B, 3, H, W) normalised; H and W multiples of the patch.

        Returns:
            For each layer (B, L + h·w, C): L leading tokens (one CLS, or none, or more), then the cells row by row.
        """
        grid, visual = self.grid(*images.shape[-2:]), self.clip_model.visual
        if self.trunk_is_timm:
            self._fit_rotary(grid)
            return _timm_tokens(visual.trunk, images, self.layers)
        return _open_clip_tokens(visual, images, self._positions(grid), self.layers)

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        """Embed (B, 3, H, W) images as (B, E) prompts; H and W are multiples of the patch."""
        grid, visual = self.grid(*images.shape[-2:]), self.clip_model.visual
        if self.trunk_is_timm:
            self._fit_rotary(grid)
            return visual(images).float()
        pooled = functional_call(visual, {"positional_embedding": self._positions(grid)}, (images,))
        # A CoCa returns the embedding and its tokens.
        return (pooled[0] if isinstance(pooled, tuple) else pooled).float()
