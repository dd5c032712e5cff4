"""The smallest CLIPs that still are: random open_clip models with a ViT, a timm or a ResNet tower."""

from __future__ import annotations

from functools import partial
from unittest import mock

import timm
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP

VOCABULARY = 40


def tokens(seed: int = 0, count: int = 3, context: int = 10) -> torch.Tensor:
    """(count, context) texts of different lengths: start, words, end (the highest number), padding with 0."""
    generator = torch.Generator().manual_seed(seed)
    texts = torch.zeros(count, context, dtype=torch.int64)
    for row in texts:
        length = int(torch.randint(2, context - 2, (1,), generator=generator))
        row[0], row[length + 1] = 1, VOCABULARY - 1
        row[1 : length + 1] = torch.randint(2, VOCABULARY - 1, (length,), generator=generator)
    return texts


def tiny_vit(
    patch: int = 8, size: int = 32, width: int = 32, layers: int = 5, quick_gelu: bool = True, pool: str = "tok"
) -> CLIP:
    """E = 16; positions are random too, which open_clip would do with its weights."""
    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=layers, width=width, head_width=8, patch_size=patch, image_size=size, pool_type=pool)
    return CLIP(16, vision, _text(), quick_gelu=quick_gelu).eval()


def tiny_timm(name: str, **options) -> CustomTextCLIP:
    """E = 16, with a timm ViT of that name as open_clip wraps it, shrunk to four blocks and an image of 2 x 2 cells."""
    torch.manual_seed(0)
    patch = int(name.split("patch")[1].split("_")[0])
    shrunk = partial(timm.create_model, img_size=2 * patch, embed_dim=24, depth=4, num_heads=2, **options)
    vision = CLIPVisionCfg(timm_model_name=name, timm_pool="", timm_proj="linear", image_size=2 * patch)
    with mock.patch.object(timm, "create_model", shrunk):
        return CustomTextCLIP(16, vision, _text()).eval()


def tiny_resnet() -> CLIP:
    """Stages of 32 to 256 channels, E = 16."""
    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=(1, 1, 1, 1), width=8, head_width=8, patch_size=None, image_size=64)
    return CLIP(16, vision, _text()).eval()


def _text() -> CLIPTextCfg:
    return CLIPTextCfg(context_length=10, vocab_size=VOCABULARY, width=24, heads=2, layers=2)
