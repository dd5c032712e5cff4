"""Multi-scale deformable attention (Zhu et al. 2021) as a module, without an operator to compile by hand."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dispatch import Sampler, attention_softmax, sampler


class MSDeformAttn(nn.Module):
    """Attend to a few learned points around each query's reference point, on every level.

    Args:
        dim: width C; divisible by ``heads``.
        levels: number of feature levels.
        heads: number of attention heads M.
        points: number of sampled points per head and level.
    """

    def __init__(self, dim: int, levels: int = 3, heads: int = 8, points: int = 4) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"Deformable attention: width {dim} is not divisible by {heads} heads.")
        self.levels, self.heads, self.points = levels, heads, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start each head in a direction of its own, with points at growing distances (Zhu et al., appendix A.4)."""
        nn.init.zeros_(self.sampling_offsets.weight)
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        directions = torch.stack((angles.cos(), angles.sin()), -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1).float()
        bias = directions[:, None, None] * steps[None, None, :, None]  # (M, 1, points, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(bias.expand(-1, self.levels, -1, -1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, query: Tensor, reference: Tensor, source: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
        """Attend from every query to the source.

        Args:
            query: (B, L, C), with position encoding.
            reference: (L, 2) centre of each query as (x, y) in [0, 1].
            source: (B, S, C), S = Σ h·w.
            shapes: (h, w) of each level.

        Returns:
            (B, L, C).
        """
        return self.attend_at_points(query, reference, self.sampler(source, shapes), shapes)

    def sampler(self, source: Tensor, shapes: Sequence[tuple[int, int]], outside: Tensor | None = None) -> Sampler:
        """Project the source once, for any number of calls of :meth:`attend_at_points`.

        Args:
            source: (B, S, C), S = Σ h·w.
            shapes: (h, w) of each level.
            outside: (B, S) bool, cells that read as 0, as those beyond the border do; None: none.
        """
        value = self.value_proj(source)
        if outside is not None:
            value = value.masked_fill(outside[..., None], 0)
        return sampler(value.unflatten(-1, (self.heads, -1)), shapes)

    def attend_at_points(
        self, query: Tensor, reference: Tensor, sample: Sampler, shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Attend as in :meth:`forward`, to what :meth:`sampler` prepared."""
        split = (self.heads, self.levels, self.points)
        sizes = _level_sizes(tuple(shapes), self.heads, self.points, query.device)
        # One wide product instead of two.
        projections = self.sampling_offsets, self.attention_weights
        weight, bias = torch.cat([p.weight for p in projections]), torch.cat([p.bias for p in projections])
        offsets, logits = F.linear(query, weight, bias).split([p.out_features for p in projections], -1)
        # In float32: half precision keeps too few bits of a position.
        offsets = offsets.float() / sizes
        locations = (offsets.unflatten(-1, (-1, 2)) + reference[:, None]).unflatten(-2, split)
        weights = attention_softmax(logits, self.heads).unflatten(-1, split[1:])
        return self.output_proj(sample(locations, weights))


@functools.lru_cache(maxsize=64)  # a copy to the device waits for it: once per size, not in every layer
def _level_sizes(shapes: tuple[tuple[int, int], ...], heads: int, points: int, device: torch.device) -> Tensor:
    """Return (M·levels·points·2,) width and height of the level that each offset belongs to."""
    with torch.inference_mode(False):  # kept beyond any evaluation
        sizes = torch.tensor([(w, h) for h, w in shapes], dtype=torch.float32, device=device)
        return sizes[None, :, None].expand(heads, -1, points, -1).flatten()
