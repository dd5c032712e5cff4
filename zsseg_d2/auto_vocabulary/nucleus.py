"""Nucleus sampling (Holtzman et al. 2020) with a random state of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Keep the likeliest tokens that together have probability `top_p`, at least one; the others become -inf.

    Args:
        logits: (B, V).
        top_p: in (0, 1].

    Returns:
        (B, V).
    """
    ordered, order = logits.softmax(-1).sort(dim=-1, descending=True, stable=True)
    enough = ordered.cumsum(-1) - ordered >= top_p  # what comes before is enough already
    enough[..., 0] = False
    return logits.masked_fill(torch.zeros_like(enough).scatter(-1, order, enough), float("-inf"))


class NucleusDraws:
    """Draws one token per row, as a logits processor of a greedy search.

    The largest of logits with Gumbel noise is a draw from their softmax (Gumbel 1954). The noise of a row follows from
    its seed, so global random state, threads and the device change nothing.

    Args:
        seeds: (B,) one per row.
        top_p: see :func:`nucleus`.
    """

    def __init__(self, seeds: Sequence[int], top_p: float) -> None:
        self.top_p = top_p
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return (B, V) scores whose largest entry is the drawn token.

        Args:
            input_ids: (B, L) tokens so far; not read.
            scores: (B, V) logits.
        """
        uniform = torch.stack([torch.rand(scores.shape[-1], generator=g) for g in self._generators])
        noise = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
        return nucleus(scores.float(), self.top_p) + noise.to(scores.device)
