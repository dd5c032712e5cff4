"""Frozen convolutional CLIP: dense features, region embeddings, text embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn

from . import resnet as clip_resnet
from .loading import build_tokenizer, create_clip, resolve_clip_name


def _is_resnet(visual: nn.Module) -> bool:
    return getattr(visual, "attnpool", None) is not None


def _stages(visual: nn.Module) -> tuple[nn.Module, ...]:
    if _is_resnet(visual):
        return visual.layer1, visual.layer2, visual.layer3, visual.layer4
    return tuple(visual.trunk.stages)


def dense_features(visual: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Feature maps of an open_clip ResNet or ConvNeXt tower (see :class:`CLIP`).

    Args:
        images: (B, 3, H, W) normalised; H and W multiples of 32.
    """
    # Convolutions are fastest where the channels of a pixel lie together, and so is what reads their output as tokens.
    images = images.contiguous(memory_format=torch.channels_last)
    x = clip_resnet.stem(visual, images) if _is_resnet(visual) else visual.trunk.stem(images)
    features = {}
    for name, stage in zip(("res2", "res3", "res4", "res5"), _stages(visual)):
        x = features[name] = clip_resnet.run_stage(stage, x) if _is_resnet(visual) else stage(x)
    features["clip_vis_dense"] = x if _is_resnet(visual) else visual.trunk.norm_pre(x)
    return features


def region_embeddings(visual: nn.Module, dense: Tensor, inside: Tensor) -> Tensor:
    """CLIP embeddings of image regions by pooling its last feature map inside masks.

    A ConvNeXt pools the mean and applies CLIP's head; a ResNet restricts CLIP's attention pooling to the mask.

    Args:
        dense: (B, C, h, w) ``clip_vis_dense``. inside: (B, Q, h, w) bool.

    Returns:
        (B, Q, E), not normalised; rows of empty masks are finite but say nothing.
    """
    if _is_resnet(visual):
        return clip_resnet.attention_pool(visual.attnpool, dense, inside)
    weight = inside.to(dense.dtype)
    pooled = torch.einsum("bchw,bqhw->bqc", dense, weight / (weight.sum((-1, -2), keepdim=True) + 1e-8))
    flat = pooled.flatten(0, 1)[:, :, None, None]
    return visual.head(visual.trunk.head(flat)).reshape(*pooled.shape[:2], -1)


def text_embeddings(clip: nn.Module, tokens: Tensor) -> Tensor:
    """open_clip's text tower, on no more positions than the longest text uses: under a causal mask the rest is idle.

    Args:
        clip: the open_clip model. tokens: (L, context) int64.

    Returns:
        (L, E), not normalised.
    """
    plain = getattr(clip, "text_pool_type", None) == "argmax" and getattr(clip, "attn_mask", None) is not None
    if not plain or not isinstance(clip.text_projection, Tensor):
        return clip.encode_text(tokens)
    ends = tokens.argmax(-1)
    length = int(ends.max()) + 1
    x = clip.token_embedding(tokens[:, :length]) + clip.positional_embedding[:length]
    x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
    return clip.ln_final(x[torch.arange(len(x), device=x.device), ends]) @ clip.text_projection


@BACKBONE_REGISTRY.register()
class CLIP(Backbone):
    """A CLIP of open_clip with a ResNet or ConvNeXt image tower, always in eval mode and without gradients.

    Outputs of :meth:`forward`: ``res2`` … ``res5`` at strides 4 to 32; ``clip_vis_dense``, the stride-32 map from which
    CLIP's own head makes embeddings (FC-CLIP, Yu et al. 2023, section 3.2).
    """

    def __init__(self, cfg, input_shape: ShapeSpec | None = None) -> None:
        super().__init__()
        name = resolve_clip_name(cfg.MODEL.FC_CLIP.CLIP_MODEL_NAME)
        self.clip_model = create_clip(name, cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS)
        self.tokenizer = build_tokenizer(name)
        self.model_name = name
        visual = self.clip_model.visual
        if _is_resnet(visual):
            widths = [layer[-1].conv3.out_channels for layer in _stages(visual)]
            self.embed_dim = visual.attnpool.c_proj.out_features
        elif hasattr(getattr(visual, "trunk", None), "stages"):
            widths = [stage.blocks[-1].conv_dw.out_channels for stage in _stages(visual)]
            self.embed_dim = next(
                m for m in reversed(list(visual.head.modules())) if isinstance(m, nn.Linear)
            ).out_features
        else:
            raise ValueError(f"'{name}' has no ResNet or ConvNeXt image tower, which FC-CLIP needs.")
        wanted = cfg.MODEL.FC_CLIP.EMBED_DIM
        if wanted != self.embed_dim:
            raise ValueError(
                f"MODEL.FC_CLIP.EMBED_DIM is {wanted}, but '{name}' embeds in {self.embed_dim} dimensions."
            )
        self._out_features = ["res2", "res3", "res4", "res5", "clip_vis_dense"]
        self._out_feature_strides = dict(zip(self._out_features, (4, 8, 16, 32, 32)))
        self._out_feature_channels = dict(zip(self._out_features, (*widths, widths[-1])))
        self.requires_grad_(False)
        self.eval()

    @property
    def size_divisibility(self) -> int:
        return 32

    @property
    def logit_scale(self) -> Tensor:
        """() CLIP's own scale of cosines, capped at 100 as in training."""
        return self.clip_model.logit_scale.exp().clamp(max=100)

    def train(self, mode: bool = True) -> CLIP:
        """CLIP stays in eval mode: frozen batch norm, no dropout."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """
        Args:
            images: (B, 3, H, W) normalised; H and W multiples of 32.
        """
        return dense_features(self.clip_model.visual, images)

    @torch.no_grad()
    def embed_regions(self, dense: Tensor, masks: Tensor) -> Tensor:
        """:func:`region_embeddings` without gradients.

        Args:
            dense: (B, C, h, w) ``clip_vis_dense``.
            masks: (B, Q, h, w) mask logits; a region is where they are positive.
        """
        return region_embeddings(self.clip_model.visual, dense, masks > 0)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """(len(texts), E) L2-normalised float32 text embeddings."""
        device = self.clip_model.logit_scale.device
        tokens = self.tokenizer(list(texts)).to(device)
        with torch.autocast(device.type, enabled=False):
            return F.normalize(text_embeddings(self.clip_model, tokens).float(), dim=-1)
