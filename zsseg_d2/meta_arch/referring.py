"""Referring segmentation on a frozen CLIP: an image and a prompt in, the mask of what the prompt means out."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from ..modeling.clip.frozen import CLIPPyramid, FrozenCLIP, mix_conditions
from ..modeling.clip.vit import CLIPViT, token_maps
from ..modeling.referring.clipseg_decoder import VARIANTS, CLIPSegDecoder
from ..modeling.referring.mask_losses import MaskLoss
from ..modeling.referring.unet_decoder import UNetDecoder
from .base import SegmentationModel

logger = logging.getLogger(__name__)

DECODERS = (*VARIANTS, "unet")
CONDITIONS = ("text", "image", "mixed")
_KEPT_TEXTS = 20_000
_AT_ONCE = 32  # phrases that are decoded together at test time


@META_ARCH_REGISTRY.register()
class ReferringSegmentor(SegmentationModel):
    """Frozen CLIP → activations of the image, embedding of the prompt → decoder → mask logits.

    ``forward`` takes Detectron2's list of dicts, one a phrase: ``image`` (3, S, S) uint8 RGB, ``prompt`` (text), in
    training ``mask`` (S, S) bool, with visual prompts ``visual_prompt`` (3, S, S) and ``has_visual_prompt``; at test
    time ``height`` and ``width``. Phrases that share one image tensor share its CLIP features. In training it returns
    weighted losses; else a dict a phrase with ``mask_logits`` (height, width) float32.
    """

    task = "referring"
    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: FrozenCLIP,
        decoder: nn.Module,
        loss: MaskLoss,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        condition: str = "text",
        text_share: float = 0.5,
        image_size: int = 352,
        test_prompts: str = "fixed",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.backbone = backbone
        self.decoder = decoder
        self.loss = loss
        self.condition = condition
        self.text_share = text_share
        self.image_size = image_size
        self.test_prompts = test_prompts
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        self._texts: OrderedDict[str, Tensor] = OrderedDict()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        settings = cfg.MODEL.REFERRING
        backbone = build_tower(cfg)
        alpha = None if settings.FOCAL_ALPHA < 0 else settings.FOCAL_ALPHA
        return {
            **cls.base_arguments(cfg),
            "backbone": backbone,
            "decoder": build_decoder(cfg, backbone),
            "loss": MaskLoss(settings.LOSS, gamma=settings.FOCAL_GAMMA, alpha=alpha),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "condition": settings.CONDITION,
            "text_share": settings.TEXT_SHARE,
            "image_size": cfg.INPUT.PHRASE.SIZE,
            "test_prompts": cfg.INPUT.PHRASE.PROMPTS_TEST,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def losses(self, batched_inputs: Sequence[Mapping]) -> dict[str, Tensor]:
        """Compute the weighted losses of a training batch of phrases."""
        masks = torch.stack([item["mask"] for item in batched_inputs])
        return self.loss(self.mask_logits(batched_inputs), masks.to(self.device))

    def inference(self, batched_inputs: Sequence[Mapping]) -> list[dict]:
        """Compute ``mask_logits`` (height, width) float32 of each phrase."""
        with self.inference_precision():
            logits = self.mask_logits(batched_inputs)
        results = []
        for item, mask in zip(batched_inputs, logits.float()):
            size = (item.get("height", mask.shape[0]), item.get("width", mask.shape[1]))
            results.append({"mask_logits": _resized(mask, size)})
        return results

    def mask_logits(self, items: Sequence[Mapping]) -> Tensor:
        """(N, S, S) logits of N phrases, at the size of the images that go in."""
        distinct: dict[int, tuple[int, Tensor]] = {}
        owner = [distinct.setdefault(id(item["image"]), (len(distinct), item["image"]))[0] for item in items]
        images = self._normalised([image for _, image in distinct.values()])
        features = self.backbone(images)
        shared = None if len(distinct) == len(items) else torch.tensor(owner, device=self.device)
        if self.training or shared is None:
            return self._decode(features, images, self.conditions(items), shared)
        # One crowded image may have a hundred phrases.
        parts = range(0, len(items), _AT_ONCE)
        decoded = [
            self._decode(features, images, self.conditions(items[k : k + _AT_ONCE]), shared[k : k + _AT_ONCE])
            for k in parts
        ]
        return torch.cat(decoded)

    def _decode(self, features: list[Tensor], images: Tensor, condition: Tensor, owner: Tensor | None) -> Tensor:
        if not isinstance(self.backbone, CLIPViT):
            return self.decoder(features, condition, owner)
        grid = self.backbone.grid(*images.shape[-2:])
        if not isinstance(self.decoder, UNetDecoder):
            return self.decoder(features, condition, grid, owner)
        hint = self.backbone.similarity(features[-1], condition, grid, owner) if self.decoder.hints else None
        return self.decoder(token_maps(features, grid), condition, owner, hint, images)

    def conditions(self, items: Sequence[Mapping]) -> Tensor:
        """(N, E) what the decoder is conditioned by: texts, image prompts, or mixtures.

        In training a mixture takes the text's share from [0, 1] (Lüddecke & Ecker 2022, section 3.3). Where a data set
        has no image prompt for a phrase, the text stands in for it.

        Raises:
            ValueError: an image prompt is asked for, and an item says nothing of one.
        """
        if self.condition == "text":
            return self._embed_texts([item["prompt"] for item in items])
        if not all("visual_prompt" in item for item in items):
            raise ValueError(
                f"MODEL.REFERRING.CONDITION is '{self.condition}', but an item has no 'visual_prompt'; use 'text', or give images."
            )
        present = torch.tensor([bool(item.get("has_visual_prompt", True)) for item in items], device=self.device)
        images = self.backbone.embed_images(self._normalised([item["visual_prompt"] for item in items]))
        if self.condition == "image" and present.all():
            return images
        texts = self._embed_texts([item["prompt"] for item in items])
        share = torch.full((len(items),), 0.0 if self.condition == "image" else self.text_share, device=self.device)
        if self.condition == "mixed" and self.training:
            share = torch.rand(len(items), device=self.device)
        return mix_conditions(texts, images, torch.where(present, share, 1.0))

    def _normalised(self, images: Sequence[Tensor]) -> Tensor:
        return (torch.stack(list(images)).to(self.device).float() - self.pixel_mean) / self.pixel_std

    def _embed_texts(self, prompts: Sequence[str]) -> Tensor:
        """(N, E); texts of recent batches are remembered, for CLIP does not change."""
        missing = list(dict.fromkeys(p for p in prompts if p not in self._texts))
        if missing:
            self._texts.update(zip(missing, self.backbone.embed_texts(missing).unbind()))
        found = torch.stack([self._texts[p] for p in prompts]).to(self.device)
        while len(self._texts) > _KEPT_TEXTS:
            self._texts.popitem(last=False)
        return found


@contextmanager
def _pointing_to(*keys: str) -> Iterator[None]:
    """Adds config keys to the message of a ValueError that names none."""
    try:
        yield
    except ValueError as error:
        if "MODEL." in str(error):
            raise
        raise ValueError(f"{error} See {' and '.join(keys)}.") from error


@_pointing_to("MODEL.REFERRING.CLIP_LAYERS", "MODEL.FC_CLIP.CLIP_MODEL_NAME")
def build_tower(cfg: CfgNode) -> FrozenCLIP:
    """The frozen CLIP of a config, as its decoder reads it.

    Raises:
        ValueError: unknown decoder, layers that the tower does not have, or a CLIPSeg decoder on a convolutional tower.
    """
    clip, ours = cfg.MODEL.FC_CLIP, cfg.MODEL.REFERRING
    arguments = (clip.CLIP_MODEL_NAME, clip.CLIP_PRETRAINED_WEIGHTS)
    layers = list(ours.CLIP_LAYERS)
    if ours.DECODER != "unet":
        if ours.DECODER not in VARIANTS:
            raise ValueError(f"MODEL.REFERRING.DECODER is '{ours.DECODER}'; choose one of {', '.join(DECODERS)}.")
        return CLIPViT.build(*arguments, layers=layers or VARIANTS[ours.DECODER].layers)
    from ..modeling.clip.loading import build_tokenizer, create_clip, resolve_clip_name

    name = resolve_clip_name(arguments[0])
    model, tokenizer = create_clip(name, arguments[1]), build_tokenizer(name)
    blocks = getattr(getattr(model.visual, "transformer", None), "resblocks", None) or getattr(
        getattr(model.visual, "trunk", None), "blocks", None
    )
    if blocks is None:
        if layers:
            logger.warning(
                "MODEL.REFERRING.CLIP_LAYERS names blocks of a ViT; this CLIP has stages, of which all are read."
            )
        return CLIPPyramid(model, tokenizer)
    stages = len(ours.UNET_DIMS) - 1  # the finest is the image's own
    return CLIPViT(model, tokenizer, layers or [len(blocks) * (k + 1) // stages - 1 for k in range(stages)])


def build_decoder(cfg: CfgNode, backbone: FrozenCLIP) -> nn.Module:
    """The decoder of a config on its tower.

    Raises:
        ValueError: the parts do not fit each other, or the images do not fit the tower.
    """
    ours, size = cfg.MODEL.REFERRING, cfg.INPUT.PHRASE.SIZE
    is_vit = isinstance(backbone, CLIPViT)
    cell = backbone.patch if is_vit else backbone.strides[-1]
    if size % cell:
        raise ValueError(f"INPUT.PHRASE.SIZE is {size}, no multiple of {cell}, the pixels of a cell of this CLIP.")
    if ours.DECODER == "unet":
        widths = [backbone.width] * len(backbone.layers) if is_vit else backbone.widths
        if ours.UNET_SIMILARITY and not (is_vit and backbone.speaks_of_cells):
            raise ValueError(
                "MODEL.REFERRING.UNET_SIMILARITY needs a ViT whose embedding is the mean of its cells (open_clip's pool_type "
                "'avg'), and its last block among MODEL.REFERRING.CLIP_LAYERS."
            )
        shape = dict(widths=widths, stride=cell, condition_dim=backbone.embed_dim, dims=ours.UNET_DIMS)
        with _pointing_to("MODEL.REFERRING.UNET_DIMS"):
            return UNetDecoder(**shape, hints=ours.UNET_SIMILARITY, pixels=is_vit)
    with _pointing_to("MODEL.REFERRING.KERNELS"):
        decoder = CLIPSegDecoder.build(
            ours.DECODER,
            width=backbone.width,
            condition_dim=backbone.embed_dim,
            depth=len(backbone.layers),
            kernels=tuple(ours.KERNELS) or None,
            feedforward=ours.FEEDFORWARD,
            dropout=ours.DROPOUT,
        )
    if decoder.stride != cell:
        raise ValueError(
            f"The decoder '{ours.DECODER}' makes {decoder.stride} pixels of a cell, but this CLIP's patch is {cell}; give "
            "MODEL.REFERRING.KERNELS with that product."
        )
    return decoder


def _resized(logits: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(logits.shape) == tuple(size):
        return logits
    return F.interpolate(logits[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
