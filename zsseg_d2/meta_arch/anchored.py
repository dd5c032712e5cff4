"""Fine-tuning that is pulled back to the weights that it starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_sem_seg_head
from torch import Tensor, nn

from ..modeling.fcclip.head import FCCLIPHead
from .base import PartWeights
from .fcclip import FCCLIP


@META_ARCH_REGISTRY.register()
class AnchoredFCCLIP(FCCLIP):
    """FC-CLIP with the penalty L2-SP (Li et al. 2018, "Explicit Inductive Bias for Transfer Learning", section 3).

    ``loss_anchor`` is w / 2 · ‖θ - θ₀‖² over the trained weights, from those of the pre-training. At test time, and in
    checkpoints, it is an ordinary FC-CLIP.

    Args:
        make_anchor_head: Builds the head that holds θ₀.
        weight: w.
        base: Of :class:`FCCLIP`.
    """

    frozen_parts = ("anchor",)

    @configurable
    def __init__(self, *, make_anchor_head: Callable[[], FCCLIPHead], weight: float, **base: Any) -> None:
        super().__init__(**base)
        self.anchor = self.with_shared_backbone(make_anchor_head()).requires_grad_(False).eval()
        self.weight = weight
        self.importance: Mapping[str, Tensor] = {}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        base = super().from_config(cfg)
        return {
            **base,
            "make_anchor_head": lambda: build_sem_seg_head(cfg, base["backbone"].output_shape()),
            "weight": cfg.ZSSEG.ANCHOR.WEIGHT,
        }

    @classmethod
    def part_weights(cls, cfg: CfgNode) -> dict[str, PartWeights]:
        return {"anchor": PartWeights("ZSSEG.ANCHOR.WEIGHTS", cfg.ZSSEG.ANCHOR.WEIGHTS)}

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """Compute the weighted losses of a training batch, and the penalty."""
        distance = squared_distance(self, self.anchor, self.importance)
        return {**super().losses(batched_inputs), "loss_anchor": self.weight / 2 * distance}


def squared_distance(model: nn.Module, anchor: nn.Module, importance: Mapping[str, Tensor] | None = None) -> Tensor:
    """Compute Σ F_i (θ_i - θ₀_i)² over the trained weights θ of a model.

    Args:
        model: Has θ.
        anchor: Has θ₀ under the same names.
        importance: F by name, in the shapes of the weights; empty or None: 1.

    Returns:
        ().
    """
    fixed = dict(anchor.named_parameters())
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    squares = ((name, (p - fixed[name]).square()) for name, p in trained)
    terms = ((importance[name] * square if importance else square).sum() for name, square in squares)
    return sum(terms, start=trained[0][1].new_zeros(()))
