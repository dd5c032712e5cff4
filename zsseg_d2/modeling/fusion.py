"""Two models' predictions to one: class logits and mask logits (DESIGN, "Combined"). Pure functions.

s = softmax(z), H(s) = -Σ s · log(s + 1e-9) in nats. The last axis holds the classes, void included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FusionSettings:
    """What a fusion is called, and the numbers that some of them read."""

    name: str = "softmax_entropy"
    weight: float = 0.6  # "weighted": the first model's share
    threshold: float = 0.7  # "softmax_threshold": a larger probability is confident
    top_k: int = 10  # "softmax_topk": entries that are kept


def entropy(probabilities: Tensor) -> Tensor:
    """H(s) over the last axis, in nats: (..., K) to (..., 1)."""
    return -(probabilities * torch.log(probabilities + 1e-9)).sum(-1, keepdim=True)


def _mean(one: Tensor, two: Tensor, settings: FusionSettings) -> Tensor:
    return (one + two) / 2


def _weighted(one: Tensor, two: Tensor, settings: FusionSettings) -> Tensor:
    return settings.weight * one + (1 - settings.weight) * two


def _softmax_sum(one: Tensor, two: Tensor, settings: FusionSettings) -> Tensor:
    return one.softmax(-1) + two.softmax(-1)


def _softmax_threshold(one: Tensor, two: Tensor, settings: FusionSettings) -> Tensor:
    return _by_confidence(one.softmax(-1), two.softmax(-1), settings.threshold)


def _softmax_topk(one: Tensor, two: Tensor, settings: FusionSettings) -> Tensor:
    def largest(z: Tensor) -> Tensor:
        s = z.softmax(-1)
        values, places = s.topk(min(settings.top_k, s.shape[-1]), dim=-1)
        return torch.zeros_like(s).scatter(-1, places, values)

    return largest(one) + largest(two)


def _softmax_entropy(one: Tensor, two: Tensor, settings: FusionSettings) -> Tensor:
    one, two = one.softmax(-1), two.softmax(-1)
    return one * (1 - entropy(one)) + two * (1 - entropy(two))


def _normalized_entropy(one: Tensor, two: Tensor, settings: FusionSettings) -> Tensor:
    one, two = one.softmax(-1), two.softmax(-1)
    most = math.log(one.shape[-1])
    return one * (1 - entropy(one) / most) + two * (1 - entropy(two) / most)


def _by_confidence(one: Tensor, two: Tensor, threshold: float) -> Tensor:
    """Both confident: the larger of each entry; one confident: that one; none: the sum."""
    sure_one = one.amax(-1, keepdim=True) > threshold
    sure_two = two.amax(-1, keepdim=True) > threshold
    either = torch.where(sure_one, one, two)
    neither = torch.where(sure_one | sure_two, either, one + two)
    return torch.where(sure_one & sure_two, torch.maximum(one, two), neither)


FUSIONS: dict[str, Callable[[Tensor, Tensor, FusionSettings], Tensor]] = {
    "mean": _mean,
    "weighted": _weighted,
    "softmax_sum": _softmax_sum,
    "softmax_threshold": _softmax_threshold,
    "softmax_topk": _softmax_topk,
    "softmax_entropy": _softmax_entropy,
    "normalized_entropy": _normalized_entropy,
}
"""Fusions of class logits by their names."""


def fuse_logits(one: Tensor, two: Tensor, settings: FusionSettings) -> Tensor:
    """One vector of class logits a query from those of two models.

    ``mean`` (z₁+z₂)/2 · ``weighted`` w·z₁+(1-w)·z₂ · ``softmax_sum`` s₁+s₂ · ``softmax_threshold`` per query, both
    confident (max s > τ): the larger of each entry, one confident: that one, none: s₁+s₂ · ``softmax_topk`` the k largest
    entries of each s, summed · ``softmax_entropy`` s₁·(1-H(s₁)) + s₂·(1-H(s₂)) · ``normalized_entropy`` the same with
    H / log K, so that weights stay in [0, 1].

    Args:
        one, two: (..., K) logits of paired queries.

    Returns:
        (..., K) float32; all but the first two are bounded sums of probabilities that stand as logits.

    Raises:
        ValueError: there is no such fusion.
    """
    if settings.name not in FUSIONS:
        raise ValueError(f"There is no fusion '{settings.name}'; choose one of {', '.join(FUSIONS)}.")
    return FUSIONS[settings.name](one.float(), two.float(), settings)


def fuse_masks(one: Tensor, two: Tensor, settings: FusionSettings) -> Tensor:
    """The same fusion for masks: pixel by pixel, of the probabilities p = sigmoid(logit), handed back as logits.

    A pixel's distribution is (p, 1 - p): the entropy is the binary one, log K is log 2, and sums are divided by their
    total weight so that they stay probabilities. With two entries ``softmax_topk`` is ``softmax_sum``, and ``mean`` is too.

    Args:
        one, two: (...) mask logits at the same pixels.

    Returns:
        (...) float32 mask logits.
    """
    one, two = one.float(), two.float()
    pair_one, pair_two = (torch.stack((z.sigmoid(), (-z).sigmoid()), -1) for z in (one, two))
    if settings.name == "softmax_threshold":
        mixed = _by_confidence(pair_one, pair_two, settings.threshold)
    else:
        weight_one, weight_two = _mask_weights(pair_one, pair_two, settings)
        mixed = weight_one * pair_one + weight_two * pair_two
    inside, outside = mixed.clamp(min=1e-12).log().unbind(-1)
    return inside - outside  # the total weight falls out of the difference


def _mask_weights(one: Tensor, two: Tensor, settings: FusionSettings) -> tuple[Tensor, Tensor] | tuple[float, float]:
    if settings.name == "weighted":
        return settings.weight, 1 - settings.weight
    if settings.name in ("softmax_entropy", "normalized_entropy"):
        most = math.log(2) if settings.name == "normalized_entropy" else 1.0
        # A pixel at exactly one half has the normalised weight 0 in both models; it stays at one half.
        return tuple((1 - entropy(p) / most).clamp(min=1e-6) for p in (one, two))
    return 0.5, 0.5
