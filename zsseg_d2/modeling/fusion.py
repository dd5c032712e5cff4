"""Rules that fuse the predictions of two models: class logits and mask logits of paired queries.

s = softmax(z), H(s) = -Σ s · log(s + 1e-9) in nats. The last axis holds the classes, void included. A rule from outside
the package subclasses :class:`Fusion` and registers itself with :data:`FUSIONS` (docs/extending.md).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..registry import NamedRegistry

FUSIONS = NamedRegistry("fusion", "ZSSEG.FUSION.NAME")
"""Fusions by name."""

_LEAST_MASK_WEIGHT = 1e-6


@dataclass(frozen=True)
class FusionSettings:
    """Name of a fusion, and the numbers that some of them read."""

    name: str = "softmax_entropy"
    weight: float = 0.6  # "weighted": the first model's share
    threshold: float = 0.7  # "softmax_threshold": a larger probability is confident
    top_k: int = 10  # "softmax_topk": entries that are kept
    scale: float = 1.0  # fused probabilities are multiplied by it before they are used as logits


class Fusion(ABC):
    """A rule for class logits and mask logits of two models.

    Args:
        settings: The numbers that the rule reads.
    """

    def __init__(self, settings: FusionSettings) -> None:
        self.settings = settings

    @abstractmethod
    def fuse_logits(self, one: Tensor, two: Tensor) -> Tensor:
        """Fuse class logits.

        Args:
            one: (..., K + 1) float32 class logits of the first model, void last.
            two: The same of the second model; queries are paired.

        Returns:
            (..., K + 1) class logits.
        """

    @abstractmethod
    def fuse_masks(self, one: Tensor, two: Tensor) -> Tensor:
        """Fuse mask logits, pixel by pixel.

        Args:
            one: (...) float32 mask logits of the first model.
            two: The same of the second model, at the same pixels.

        Returns:
            (...) mask logits.
        """


def entropy(probabilities: Tensor) -> Tensor:
    """Compute H(s) over the last axis, in nats: (..., K) to (..., 1)."""
    return -(probabilities * torch.log(probabilities + 1e-9)).sum(-1, keepdim=True)


def binary_entropy(logits: Tensor) -> Tensor:
    """Compute H of (p, 1 - p) with p = sigmoid(logit), in nats, of each element."""
    size = logits.abs()  # H is even; this side of 0 has no cancellation
    return size * (-size).sigmoid() - F.logsigmoid(size)


def mix_mask_logits(
    one: Tensor, two: Tensor, weight_one: Tensor | float = 1.0, weight_two: Tensor | float = 1.0
) -> Tensor:
    """Fuse mask logits by mixing the probabilities p = sigmoid(logit).

    Only logarithms are added, so that logits of any size keep their value and their gradient.

    Args:
        one: (...) mask logits of the first model.
        two: (...) mask logits of the second model.
        weight_one: Weight of p₁, a number or (...), at least 0; only the ratio of the weights matters.
        weight_two: Weight of p₂.

    Returns:
        (...) the logit of (w₁ · p₁ + w₂ · p₂) / (w₁ + w₂).
    """
    log_one, log_two = (torch.as_tensor(w, dtype=one.dtype, device=one.device).log() for w in (weight_one, weight_two))
    inside = torch.logaddexp(log_one + F.logsigmoid(one), log_two + F.logsigmoid(two))
    outside = torch.logaddexp(log_one + F.logsigmoid(-one), log_two + F.logsigmoid(-two))
    return inside - outside


class _Linear(Fusion):
    """w · z₁ + (1 - w) · z₂; masks mix probabilities with the same weights."""

    share: float

    def fuse_logits(self, one: Tensor, two: Tensor) -> Tensor:
        return self.share * one + (1 - self.share) * two

    def fuse_masks(self, one: Tensor, two: Tensor) -> Tensor:
        return mix_mask_logits(one, two, self.share, 1 - self.share)


@FUSIONS.register_as("mean")
class Mean(_Linear):
    """(z₁ + z₂) / 2."""

    share = 0.5


@FUSIONS.register_as("weighted")
class Weighted(_Linear):
    """w · z₁ + (1 - w) · z₂ with w = ``settings.weight``."""

    @property
    def share(self) -> float:  # type: ignore[override]
        return self.settings.weight


class _Probabilities(Fusion):
    """A sum of probabilities that is used as logits; masks mix probabilities half and half."""

    def fuse_logits(self, one: Tensor, two: Tensor) -> Tensor:
        return self.mix(one.softmax(-1), two.softmax(-1)) * self.settings.scale

    def fuse_masks(self, one: Tensor, two: Tensor) -> Tensor:
        return mix_mask_logits(one, two)

    def mix(self, one: Tensor, two: Tensor) -> Tensor:
        """Mix (..., K) probabilities; the sum of both unless a rule says otherwise."""
        return one + two


@FUSIONS.register_as("softmax_sum")
class SoftmaxSum(_Probabilities):
    """s₁ + s₂."""


@FUSIONS.register_as("softmax_topk")
class SoftmaxTopK(_Probabilities):
    """The k largest entries of each s, summed. Masks have two entries, so they are mixed as by ``softmax_sum``."""

    def mix(self, one: Tensor, two: Tensor) -> Tensor:
        return self._largest(one) + self._largest(two)

    def _largest(self, s: Tensor) -> Tensor:
        values, indices = s.topk(min(self.settings.top_k, s.shape[-1]), dim=-1)
        return torch.zeros_like(s).scatter(-1, indices, values)


@FUSIONS.register_as("softmax_threshold")
class SoftmaxThreshold(_Probabilities):
    """Per query, both confident (max s > τ): the larger of each entry; one confident: that one; none: s₁ + s₂."""

    def mix(self, one: Tensor, two: Tensor) -> Tensor:
        sure_one = one.amax(-1, keepdim=True) > self.settings.threshold
        sure_two = two.amax(-1, keepdim=True) > self.settings.threshold
        either = torch.where(sure_one, one, two)
        neither = torch.where(sure_one | sure_two, either, one + two)
        return torch.where(sure_one & sure_two, torch.maximum(one, two), neither)

    def fuse_masks(self, one: Tensor, two: Tensor) -> Tensor:
        sure_one, sure_two = (z.abs().sigmoid() > self.settings.threshold for z in (one, two))
        # The larger p over the larger 1 - p.
        larger = F.logsigmoid(torch.maximum(one, two)) - F.logsigmoid(-torch.minimum(one, two))
        neither = torch.where(sure_one | sure_two, torch.where(sure_one, one, two), mix_mask_logits(one, two))
        return torch.where(sure_one & sure_two, larger, neither)


class _EntropyWeighted(_Probabilities):
    """s₁ · (1 - H(s₁) / norm) + s₂ · (1 - H(s₂) / norm); masks with the binary entropy of each pixel."""

    def norm(self, entries: int) -> float:
        """Return the divisor of the entropy of a distribution over this many entries."""
        raise NotImplementedError

    def mix(self, one: Tensor, two: Tensor) -> Tensor:
        norm = self.norm(one.shape[-1])
        return one * (1 - entropy(one) / norm) + two * (1 - entropy(two) / norm)

    def fuse_masks(self, one: Tensor, two: Tensor) -> Tensor:
        return mix_mask_logits(one, two, self._mask_weight(one), self._mask_weight(two))

    def _mask_weight(self, logits: Tensor) -> Tensor:
        # Normalized, the weight of a pixel at exactly one half is 0; where both are, the fused pixel is one half too.
        return (1 - binary_entropy(logits) / self.norm(2)).clamp(min=_LEAST_MASK_WEIGHT)


@FUSIONS.register_as("softmax_entropy")
class SoftmaxEntropy(_EntropyWeighted):
    """s₁ · (1 - H(s₁)) + s₂ · (1 - H(s₂)): the best rule of the published table."""

    def norm(self, entries: int) -> float:
        return 1.0


@FUSIONS.register_as("normalized_entropy")
class NormalizedEntropy(_EntropyWeighted):
    """The same with H / log K, so that weights stay in [0, 1]."""

    def norm(self, entries: int) -> float:
        return math.log(entries)


def build_fusion(settings: FusionSettings) -> Fusion:
    """Build the fusion that ``settings`` name.

    Raises:
        ValueError: There is no such fusion.
    """
    return FUSIONS.get(settings.name)(settings)


def fuse_logits(one: Tensor, two: Tensor, settings: FusionSettings) -> Tensor:
    """Fuse the class logits of paired queries by the rule that ``settings`` name.

    Args:
        one: (..., K + 1) class logits of the first model, void last.
        two: The same of the second model.
        settings: Name and numbers of the rule.

    Returns:
        (..., K + 1) float32. All rules but ``mean`` and ``weighted`` return bounded sums of probabilities.

    Raises:
        ValueError: There is no such fusion.

    Example::

        >>> z = torch.tensor([[2.0, 0.0]])
        >>> fuse_logits(z, -z, FusionSettings("mean"))
        tensor([[0., 0.]])
        >>> fuse_logits(0 * z, 0 * z, FusionSettings("softmax_sum"))
        tensor([[1., 1.]])
    """
    return build_fusion(settings).fuse_logits(one.float(), two.float())


def fuse_masks(one: Tensor, two: Tensor, settings: FusionSettings) -> Tensor:
    """Fuse mask logits by the rule that ``settings`` name: pixel by pixel, of p = sigmoid(logit).

    A pixel's distribution is (p, 1 - p): the entropy is the exact binary one, log K is log 2.

    Args:
        one: (...) mask logits of the first model.
        two: (...) mask logits of the second model, at the same pixels.
        settings: Name and numbers of the rule.

    Returns:
        (...) float32 mask logits.

    Raises:
        ValueError: There is no such fusion.
    """
    return build_fusion(settings).fuse_masks(one.float(), two.float())
