"""FC-CLIP of which only low-rank updates of the decoders' matrices are trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..modeling.low_rank import add_low_rank_updates, original_names
from .fcclip import FCCLIP


@META_ARCH_REGISTRY.register()
class LowRankFCCLIP(FCCLIP):
    """FC-CLIP with frozen decoders and trained low-rank updates (Hu et al. 2022), and a trained void embedding.

    A checkpoint holds the frozen weights and the updates, under names of their own.

    Args:
        rank: r of the updates.
        alpha: α: an update is multiplied by α / r.
        base: Of :class:`FCCLIP`.
    """

    @configurable
    def __init__(self, *, rank: int, alpha: float, **base: Any) -> None:
        super().__init__(**base)
        add_low_rank_updates(self.sem_seg_head, rank, alpha)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {**super().from_config(cfg), "rank": cfg.ZSSEG.LOW_RANK.RANK, "alpha": cfg.ZSSEG.LOW_RANK.ALPHA}

    def complete_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Let updates start from an ordinary file."""
        return original_names(state, self.state_dict())
