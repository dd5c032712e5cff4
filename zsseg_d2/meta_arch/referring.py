"""Referring segmentation on a frozen CLIP: an image and a prompt in, the mask of what the prompt means out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..modeling.clip.frozen import FrozenCLIP, mix_conditions
from ..modeling.referring.interface import ReferringDecoder
from ..modeling.referring.mask_losses import MaskLoss
from ..modeling.registries import REFERRING_DECODER_REGISTRY
from .base import SegmentationModel

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
        decoder: ReferringDecoder,
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
        backbone, decoder = REFERRING_DECODER_REGISTRY.get(settings.DECODER).from_config(cfg)
        alpha = None if settings.FOCAL_ALPHA < 0 else settings.FOCAL_ALPHA
        return {
            **cls.base_arguments(cfg),
            "backbone": backbone,
            "decoder": decoder,
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
            return self.decoder.masks(self.backbone, images, features, self.conditions(items), shared)
        # One crowded image may have a hundred phrases.
        parts = [slice(k, k + _AT_ONCE) for k in range(0, len(items), _AT_ONCE)]
        decoded = [
            self.decoder.masks(self.backbone, images, features, self.conditions(items[part]), shared[part])
            for part in parts
        ]
        return torch.cat(decoded)

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
                f"MODEL.REFERRING.CONDITION is '{self.condition}', but an item has no 'visual_prompt'; "
                "use 'text', or give images."
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


def _resized(logits: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(logits.shape) == tuple(size):
        return logits
    return F.interpolate(logits[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
