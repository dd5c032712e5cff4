"""Two FC-CLIP models over one frozen CLIP: what the meta-architectures of two models share."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from ..class_sets import inference_precision
from .fcclip import FCCLIP


class TwoModels(nn.Module):
    """``model_one`` is the out-of-vocabulary specialist, ``model_two`` the in-vocabulary one.

    Each has a file of initial weights of its own. A checkpoint of both holds ``model_one.*`` and ``model_two.*``, each an
    ordinary FC-CLIP checkpoint but for the prefix.
    """

    @configurable
    def __init__(self, *, config: CfgNode, model_one: FCCLIP, model_two: FCCLIP) -> None:
        super().__init__()
        self.cfg = config
        self.model_one = model_one
        self.model_two = model_two

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        one = FCCLIP(**FCCLIP.from_config(cfg))
        return {"config": cfg, "model_one": one, "model_two": one.with_shared_backbone()}

    @staticmethod
    def part_weights(cfg: CfgNode) -> dict[str, tuple[str, str]]:
        """Submodule -> (config key, file) of the weights that it starts from."""
        return {
            "model_one": ("ZSSEG.MODEL_ONE.WEIGHTS", cfg.ZSSEG.MODEL_ONE.WEIGHTS),
            "model_two": ("ZSSEG.MODEL_TWO.WEIGHTS", cfg.ZSSEG.MODEL_TWO.WEIGHTS),
        }

    @property
    def device(self) -> torch.device:
        return self.model_one.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        return self.losses(batched_inputs) if self.training else self.inference(batched_inputs)

    @torch.no_grad()
    def inference(self, batched_inputs: list[dict]) -> list[dict]:
        """A result dict an image, in the order of the input; CLIP sees each image once."""
        results: list[dict] = [{} for _ in batched_inputs]
        for positions, images in self.model_one.padded_batches(batched_inputs):
            items = [batched_inputs[p] for p in positions]
            with inference_precision(self.cfg, self.device):
                found = self.segment(self.model_one.backbone(images), items, tuple(images.shape[-2:]))
            for position, result in zip(positions, found):
                results[position] = result
        return results
