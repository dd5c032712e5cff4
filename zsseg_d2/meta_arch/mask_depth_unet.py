"""Composites: a picture with an object pasted into it, and its background, in; the object's mask and the depth out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..modeling.composites.interface import CompositeNet, Maps
from ..modeling.composites.losses import MapLoss
from ..modeling.processes import mean_over_processes
from ..modeling.registries import COMPOSITE_NET_REGISTRY
from .base import SegmentationModel

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's "L"
INPUTS = {"pair": 6, "composite": 3, "grey": 2}
"""MODEL.COMPOSITES.INPUT -> channels: the composite and its background, the composite alone, or both in grey."""


@META_ARCH_REGISTRY.register()
class MaskDepthUNet(SegmentationModel):
    """A network that finds the mask of the pasted object, and the depth of every pixel.

    ``forward`` takes Detectron2's list of dicts, one per composite: ``image`` (3, H, W) uint8 RGB, ``background`` (3,
    H, W) uint8 RGB unless the input is "composite"; in training ``mask`` (H, W) bool and, with a depth loss, ``depth``
    (H, W) float32, where values that are not positive and finite are unknown. In training it returns weighted losses;
    else a dict per composite with ``mask_logits`` (H, W) float32 and, of nets with depth, ``depth`` (H, W) float32, in
    the unit of ``depth_max``.
    """

    task = "composites"
    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        net: CompositeNet,
        mask_loss: MapLoss,
        depth_loss: MapLoss,
        input: str,
        depth_max: float,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        **base: Any,
    ) -> None:
        """
        Args:
            net: from pixels to logits.
            mask_loss: of the mask.
            depth_loss: of the depth, as a share of `depth_max`.
            input: a key of :data:`INPUTS`.
            depth_max: the largest depth that can be predicted: metres, or 1 of relative depth.
            pixel_mean: of R, G and B in 0 … 255.
            pixel_std: of R, G and B.
            base: arguments of :class:`SegmentationModel`.
        """
        super().__init__(**base)
        self.net = net
        self.mask_loss, self.depth_loss = mask_loss, depth_loss
        self.input = input
        self.depth_max = depth_max
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        settings = cfg.MODEL.COMPOSITES
        return {
            **cls.base_arguments(cfg),
            "random_clip": False,  # there is none
            "net": COMPOSITE_NET_REGISTRY.get(settings.NET)(INPUTS[settings.INPUT], settings.DEPTH),
            "mask_loss": MapLoss(settings.MASK_LOSS, "mask", "MODEL.COMPOSITES.MASK_LOSS"),
            "depth_loss": MapLoss(settings.DEPTH_LOSS, "depth", "MODEL.COMPOSITES.DEPTH_LOSS"),
            "input": settings.INPUT,
            "depth_max": settings.DEPTH_MAX,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @classmethod
    def check_config(cls, cfg: CfgNode) -> None:
        """Check losses, and that the net has outputs for them; see :meth:`SegmentationModel.check_config`."""
        settings = cfg.MODEL.COMPOSITES
        if not settings.MASK_LOSS:
            raise ValueError("MODEL.COMPOSITES.MASK_LOSS is empty. Fix: name a loss, such as bce+dice")
        MapLoss(settings.MASK_LOSS, "mask", "MODEL.COMPOSITES.MASK_LOSS")
        MapLoss(settings.DEPTH_LOSS, "depth", "MODEL.COMPOSITES.DEPTH_LOSS")
        if bool(settings.DEPTH_LOSS) != settings.DEPTH:
            raise ValueError(
                f"MODEL.COMPOSITES.DEPTH_LOSS='{settings.DEPTH_LOSS}': MODEL.COMPOSITES.DEPTH is {settings.DEPTH}. "
                'Fix: give a net with depth a loss of it, such as ssim+gradient+0.1*l1, and a net without it none: ""'
            )

    @classmethod
    def check_size(cls, cfg: CfgNode, side: int) -> None:
        """Check that the net has an output for training images of a side in pixels.

        Raises:
            ValueError: it has none; the message names sizes that fit.
        """
        with torch.device("meta"):  # no memory for weights
            net = COMPOSITE_NET_REGISTRY.get(cfg.MODEL.COMPOSITES.NET)(INPUTS[cfg.MODEL.COMPOSITES.INPUT], True)
        try:
            net.window(side, side)
        except ValueError as error:
            raise ValueError(f"INPUT.COMPOSITES.SIZE={side}: {error}") from error

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def losses(self, batched_inputs: Sequence[Mapping]) -> dict[str, Tensor]:
        """Compute the weighted losses of a training batch of composites of one size."""
        images = torch.stack([self.pixels(item) for item in batched_inputs])
        maps: Maps = self.net(images)
        window = self.net.window(*images.shape[-2:])
        masks = window.of(torch.stack([item["mask"] for item in batched_inputs]).to(self.device))
        losses = self.mask_loss(maps.mask, masks)
        if self.depth_loss.weights and maps.depth is not None:
            depths = window.of(torch.stack([item["depth"] for item in batched_inputs]).to(self.device))
            known = depths.isfinite() & (depths > 0)
            shares = (torch.where(known, depths, 0.0) / self.depth_max).clamp(max=1)
            losses |= self.depth_loss(maps.depth, shares, known)
        return losses

    @torch.no_grad()
    def inference(self, batched_inputs: Sequence[Mapping]) -> list[dict]:
        """Compute ``mask_logits`` and ``depth`` of each composite by itself, whatever is in the batch."""
        results = []
        for item in batched_inputs:
            with self.inference_precision():
                maps = self.net.whole(self.pixels(item)[None])
            result = {"mask_logits": maps.mask[0].float()}
            if maps.depth is not None:
                result["depth"] = maps.depth[0].float().sigmoid() * self.depth_max
            results.append(result)
        return results

    def pixels(self, item: Mapping) -> Tensor:
        """Return what the net sees of an item: (C, H, W) float32."""
        image = self._normalized(item["image"])
        if self.input == "composite":
            return image
        pair = torch.stack([image, self._normalized(item["background"])])
        if self.input == "grey":
            pair = (pair * pair.new_tensor(_LUMA).view(3, 1, 1)).sum(1)
        return pair.flatten(0, 1) if self.input == "pair" else pair

    def _normalized(self, image: Tensor) -> Tensor:
        return (image.to(self.device).float() - self.pixel_mean) / self.pixel_std

    def after_step(self) -> None:
        """Average what batch norms remember over the processes, which each saw another part of the batch."""
        for name, buffer in self.net.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(mean_over_processes(buffer))
