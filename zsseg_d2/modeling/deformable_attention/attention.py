"""Multi-scale deformable attention (Zhu et al. 2021, equation 3) without an operator to be compiled by hand."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import gather as deformable_gather
from . import triton_op as deformable_triton


def ms_deform_attn(value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Bilinear samples of every level at every location, summed with attention weights: the plain form, for any device.

    Args:
        value: (B, S, M, D): S = Σ h·w flattened levels, M heads, D channels a head.
        shapes: (h, w) of each level.
        locations: (B, L, M, levels, points, 2) as (x, y) in [0, 1]; outside, samples are 0.
        weights: (B, L, M, levels, points), summing to 1 over the last two.

    Returns:
        (B, L, M·D).
    """
    batch, queries, heads = locations.shape[:3]
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)  # (B·M, L, levels, points, 2)
    weights = weights.transpose(1, 2).flatten(0, 1)  # (B·M, L, levels, points)
    total: Tensor | None = None
    for level, (part, (h, w)) in enumerate(zip(value.split([h * w for h, w in shapes], dim=1), shapes)):
        image = part.permute(0, 2, 3, 1).reshape(batch * heads, -1, h, w)
        samples = F.grid_sample(image, grids[:, :, level], mode="bilinear", padding_mode="zeros", align_corners=False)
        mixed = torch.einsum("bdlp,blp->bdl", samples, weights[:, :, level])
        total = mixed if total is None else total + mixed
    return total.reshape(batch, -1, queries).transpose(1, 2)


def sampler(value: Tensor, shapes: Sequence[tuple[int, int]]) -> Callable[[Tensor, Tensor], Tensor]:
    """:func:`ms_deform_attn` of one value in the form that suits its device, as a function of locations and weights."""
    if deformable_triton.available(value):
        return partial(deformable_triton.ms_deform_attn, value, shapes)
    if deformable_gather.available(value, shapes):
        return deformable_gather.sampler(value, shapes)
    return partial(ms_deform_attn, value, shapes)


class MSDeformAttn(nn.Module):
    """Each query looks at a few learned points around its reference point, on every level.

    Args:
        dim: width C. levels, heads, points: their numbers; ``dim`` must be divisible by ``heads``.
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
        """Heads start out looking in different directions, points at growing distances (Zhu et al., appendix A.4)."""
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
        """
        Args:
            query: (B, L, C), with position encoding. source: (B, S, C).
            reference: (L, 2) centre of each query as (x, y) in [0, 1].
            shapes: (h, w) of each level.

        Returns:
            (B, L, C).
        """
        return self.attend_at_points(query, reference, self.sampler(source, shapes), shapes)

    def sampler(self, source: Tensor, shapes: Sequence[tuple[int, int]]) -> Callable[[Tensor, Tensor], Tensor]:
        """What :meth:`attend_at_points` reads; one serves any number of queries."""
        return sampler(self.value_proj(source).unflatten(-1, (self.heads, -1)), shapes)

    def attend_at_points(
        self,
        query: Tensor,
        reference: Tensor,
        sample: Callable[[Tensor, Tensor], Tensor],
        shapes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """See :meth:`forward`; ``sample`` as :meth:`sampler` made it."""
        split = (self.heads, self.levels, self.points)
        sizes = _sizes(tuple(shapes), self.heads, self.points, query.device)
        projections = self.sampling_offsets, self.attention_weights
        weight, bias = torch.cat([p.weight for p in projections]), torch.cat([p.bias for p in projections])
        offsets, logits = F.linear(query, weight, bias).split(
            [p.out_features for p in projections], -1
        )  # one wide product
        # In float32: half precision keeps too few bits of a position.
        offsets = offsets.float() / sizes
        locations = (offsets.unflatten(-1, (-1, 2)) + reference[:, None]).unflatten(-2, split)
        weights = self._softmax(logits).unflatten(-1, split[1:])
        return self.output_proj(sample(locations, weights))

    def _softmax(self, logits: Tensor) -> Tensor:
        """(B, L, M·levels·points) to (B, L, M, levels·points) float32 or the logits' own precision."""
        if logits.device.type == "cpu" and not torch.compiler.is_compiling():
            wide = logits if logits.dtype == torch.float64 else logits.float()
            return deformable_gather.softmax(wide, self.heads)
        return logits.unflatten(-1, (self.heads, -1)).softmax(-1)


@functools.lru_cache(maxsize=64)  # a copy to the device waits for it: once for a size, not in every layer
def _sizes(shapes: tuple[tuple[int, int], ...], heads: int, points: int, device: torch.device) -> Tensor:
    """(M·levels·points·2,) width and height of the level that each offset belongs to."""
    with torch.inference_mode(False):  # kept beyond any evaluation
        sizes = torch.tensor([(w, h) for h, w in shapes], dtype=torch.float32, device=device)
        return sizes[None, :, None].expand(heads, -1, points, -1).flatten()
