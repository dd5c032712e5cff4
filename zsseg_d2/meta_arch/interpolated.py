"""One model between two trained ones, for each image anew: the decoder of the training set that it resembles more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from ..modeling.nearness import EmbeddingStatistics, share_of_second
from .base import PartWeights
from .fcclip import FCCLIP
from .two_models import TwoModels


@META_ARCH_REGISTRY.register()
class InterpolatedFCCLIP(TwoModels):
    """Decode each image with θ = (1 - α) · θ₁ + α · θ₂, where α says which training set it lies nearer to.

    After the idea of Hwang et al. 2025 ("OVS Meets Continual Learning: Towards Sustainable Open-Vocabulary
    Segmentation", ConOVS; first as dynamic weight interpolation, DWI). Each model has a normal distribution of CLIP's
    image embeddings over its training set; α is the second one's share in the softmax of both log-likelihoods of the
    image. There is nothing to train.

    Args:
        width: E of CLIP's embedding.
        shrinkage: ZSSEG.INTERPOLATION.SHRINKAGE of the covariances, in [0, 1].
        temperature: ZSSEG.INTERPOLATION.TEMPERATURE, by which log-likelihoods are divided.
        models: Of :class:`TwoModels`.
    """

    trainable = False

    @configurable
    def __init__(self, *, width: int, shrinkage: float, temperature: float, **models: Any) -> None:
        super().__init__(**models)
        self.statistics_one, self.statistics_two = EmbeddingStatistics(width), EmbeddingStatistics(width)
        self.shrinkage = shrinkage
        self.temperature = temperature

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        i = cfg.ZSSEG.INTERPOLATION
        own = {"width": cfg.MODEL.FC_CLIP.EMBED_DIM, "shrinkage": i.SHRINKAGE, "temperature": i.TEMPERATURE}
        return {**super().from_config(cfg), **own}

    @classmethod
    def part_weights(cls, cfg: CfgNode) -> dict[str, PartWeights]:
        i, key = cfg.ZSSEG.INTERPOLATION, "ZSSEG.INTERPOLATION.STATISTICS"
        return {
            **super().part_weights(cfg),
            "statistics_one": PartWeights(f"{key}_ONE", i.STATISTICS_ONE),
            "statistics_two": PartWeights(f"{key}_TWO", i.STATISTICS_TWO),
        }

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        raise RuntimeError(
            "InterpolatedFCCLIP joins two trained models and has nothing to train; evaluate it (--eval-only)."
        )

    def shares(self, dense: Tensor) -> Tensor:
        """Return α (B,) of images from their features ``clip_vis_dense`` (B, C, h, w)."""
        embeddings = image_embeddings(self.model_one, dense)
        one, two = (s.log_likelihood(embeddings, self.shrinkage) for s in (self.statistics_one, self.statistics_two))
        return share_of_second(one, two, self.temperature)

    @torch.no_grad()
    def segment(self, features: Mapping[str, Tensor], items: Sequence[dict], padded: tuple[int, int]) -> list[dict]:
        """See :meth:`PanopticModel.segment`."""
        results = []
        for slot, item in enumerate(items):
            own = {name: value[slot : slot + 1] for name, value in features.items()}
            share = float(self.shares(own["clip_vis_dense"]))
            results += segment_between(self.model_one, self.model_two, share, own, [item], padded)
        return results


def image_embeddings(model: FCCLIP, dense: Tensor) -> Tensor:
    """Compute CLIP's L2-normalized embeddings of images, each as one region.

    Args:
        model: Has the CLIP.
        dense: (B, C, h, w) ``clip_vis_dense``.

    Returns:
        (B, E) float32.
    """
    everywhere = dense.new_ones(len(dense), 1, *dense.shape[-2:])
    return F.normalize(model.backbone.embed_regions(dense, everywhere)[:, 0].float(), dim=-1)


class _Segmenting(nn.Module):
    """Calls ``segment`` of a model as ``forward``, which :func:`torch.func.functional_call` needs."""

    def __init__(self, model: FCCLIP) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arguments: Any) -> list[dict]:
        return self.model.segment(*arguments)


def segment_between(one: FCCLIP, two: FCCLIP, share: float, *arguments: Any) -> list[dict]:
    """Segment with the weights (1 - share) · θ₁ + share · θ₂ of two models over one CLIP; both stay as they are.

    Args:
        one: Has θ₁.
        two: Has θ₂ under the same names.
        share: In [0, 1]; 0 and 1 give the results of the two models to the last bit.
        arguments: Of :meth:`PanopticModel.segment`.
    """
    of_two = dict(two.named_parameters())
    pairs = ((name, value, of_two[name]) for name, value in one.named_parameters())
    mixed = {f"model.{name}": torch.lerp(a, b, share) for name, a, b in pairs if a is not b}
    return torch.func.functional_call(_Segmenting(one), mixed, arguments)
