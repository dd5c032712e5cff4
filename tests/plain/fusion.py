"""Mask fusions of one pixel as their definitions say, in mpmath with 80 digits."""

from __future__ import annotations

from collections.abc import Callable

import mpmath

DIGITS = 80


def fused_mask(
    name: str, one: float, two: float, *, share: float = 0.6, threshold: float = 0.7, least: float = 1e-6
) -> mpmath.mpf:
    """Return the fused logit of two mask logits.

    Args:
        name: Of the fusion.
        one, two: Logits.
        share: Of the first model, for "weighted".
        threshold: For "softmax_threshold".
        least: Smallest weight of a model, for the fusions by entropy.
    """
    with mpmath.workdps(DIGITS):
        p, q = ((1 / (1 + mpmath.exp(-mpmath.mpf(z))), 1 / (1 + mpmath.exp(mpmath.mpf(z)))) for z in (one, two))
        inside, outside = _rule(name, share, threshold, least)(p, q)
        return mpmath.log(inside / outside)


def slopes(name: str, one: float, two: float, **settings: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Return the derivatives of :func:`fused_mask` by both logits, as central differences."""
    with mpmath.workdps(DIGITS):
        step = mpmath.mpf(10) ** -20
        ends = [
            fused_mask(name, one + sign * dx * step, two + sign * dy * step, **settings)
            for dx, dy in ((1, 0), (0, 1))
            for sign in (1, -1)
        ]
        return (ends[0] - ends[1]) / (2 * step), (ends[2] - ends[3]) / (2 * step)


Pair = tuple[mpmath.mpf, mpmath.mpf]


def _rule(name: str, share: float, threshold: float, least: float) -> Callable[[Pair, Pair], Pair]:
    def entropy(p: Pair) -> mpmath.mpf:
        return -sum(x * mpmath.log(x) for x in p)

    def by_weights(p: Pair, q: Pair, weight_one: mpmath.mpf, weight_two: mpmath.mpf) -> Pair:
        return weight_one * p[0] + weight_two * q[0], weight_one * p[1] + weight_two * q[1]

    def by_threshold(p: Pair, q: Pair) -> Pair:
        if max(p) > threshold and max(q) > threshold:
            return max(p[0], q[0]), max(p[1], q[1])
        if max(p) > threshold or max(q) > threshold:
            return p if max(p) > threshold else q
        return by_weights(p, q, 1, 1)

    def by_entropy(p: Pair, q: Pair) -> Pair:
        norm = mpmath.log(2) if name == "normalized_entropy" else 1
        return by_weights(p, q, *(max(1 - entropy(x) / norm, mpmath.mpf(least)) for x in (p, q)))

    if name == "weighted":
        return lambda p, q: by_weights(p, q, share, 1 - share)
    if name == "softmax_threshold":
        return by_threshold
    if name in ("softmax_entropy", "normalized_entropy"):
        return by_entropy
    if name in ("mean", "softmax_sum", "softmax_topk"):
        return lambda p, q: by_weights(p, q, 1, 1)
    raise ValueError(f"name={name}: there is no plain form.")
