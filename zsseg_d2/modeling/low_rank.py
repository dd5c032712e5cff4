"""Low-rank updates of frozen weights (Hu et al. 2022, "LoRA", section 4.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRankUpdate(nn.Module):
    """W₀ + α / r · B · A, with B = 0 at the start; a parametrization of a weight.

    Args:
        shape: (out, in) of the weight.
        rank: r.
        alpha: α.
    """

    def __init__(self, shape: tuple[int, int], rank: int, alpha: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, shape[1]))
        self.b = nn.Parameter(torch.zeros(shape[0], rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))
        self.scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight (out, in)."""
        return weight + self.scale * (self.b @ self.a)


def add_low_rank_updates(module: nn.Module, rank: int, alpha: float) -> list[str]:
    """Freeze a module, and give each matrix of its linear and attention layers an update that is trained.

    Args:
        module: Changed in place.
        rank: r.
        alpha: α.

    Returns:
        The names of the updated weights.
    """
    module.requires_grad_(False)
    updated = []
    for path, layer in list(module.named_modules()):
        leaves = {nn.Linear: "weight", nn.MultiheadAttention: "in_proj_weight"}
        leaf = next((name for kind, name in leaves.items() if isinstance(layer, kind)), None)
        weight = None if leaf is None else getattr(layer, leaf)
        if leaf is not None and weight is not None:
            update = LowRankUpdate((weight.shape[0], weight.shape[1]), rank, alpha).to(weight.device)
            parametrize.register_parametrization(layer, leaf, update)
            updated.append(f"{path}.{leaf}")
    return updated


def original_names(state: Mapping[str, Tensor], updated: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of an ordinary file to those of a module with updates, whose own updates are added.

    Args:
        state: Of the file.
        updated: State of the module with updates.
    """
    found = dict(state)
    for name, value in updated.items():
        before, middle, after = name.rpartition(".parametrizations.")
        if not middle:
            continue
        leaf, _, kind = after.partition(".")
        plain = f"{before}.{leaf}"
        if kind == "original" and plain in found:
            found[name] = found.pop(plain)
        elif kind != "original":
            found.setdefault(name, value)
    return found
