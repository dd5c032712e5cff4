"""Optimizers: which parameters train, their learning rates and decay, and gradient clipping."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from detectron2.projects.deeplab import build_lr_scheduler as build_detectron2_scheduler  # and WarmupPolyLR
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from .plateau import PLATEAU, PlateauLR

__all__ = ["ParameterRule", "build_lr_scheduler", "build_optimizer", "parameter_rules"]

logger = logging.getLogger(__name__)

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)
_EMBEDDINGS = (
    "level_embed",
    "absolute_pos_embed",
    "relative_position_bias_table",
)  # embeddings that are not nn.Embedding


@dataclass(frozen=True)
class ParameterRule:
    """A trainable parameter with its learning rate and weight decay."""

    name: str
    parameter: nn.Parameter
    lr: float
    weight_decay: float


def parameter_rules(cfg: CfgNode, model: nn.Module) -> Iterator[ParameterRule]:
    """Yield the rules of Mask2Former and FC-CLIP (docs/architecture.md), each trainable parameter once.

    Norms (SOLVER.WEIGHT_DECAY_NORM), embeddings (SOLVER.WEIGHT_DECAY_EMBED: queries, levels, void) and the temperature
    ``logit_scale`` do not decay. Biases decay like weights. Backbone parameters, if CLIP is not frozen, train at
    SOLVER.BACKBONE_MULTIPLIER times the rate.
    """
    solver = cfg.SOLVER
    known: set[nn.Parameter] = set()
    for path, module in model.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in known:
                continue
            known.add(parameter)
            decay = solver.WEIGHT_DECAY
            if isinstance(module, _NORMS):
                decay = solver.WEIGHT_DECAY_NORM
            elif isinstance(module, nn.Embedding) or leaf in _EMBEDDINGS:
                decay = solver.WEIGHT_DECAY_EMBED
            elif leaf == "logit_scale":
                decay = 0.0
            in_backbone = "backbone" in path.split(".")
            lr = solver.BASE_LR * (solver.BACKBONE_MULTIPLIER if in_backbone else 1.0)
            yield ParameterRule(f"{path}.{leaf}" if path else leaf, parameter, lr, float(decay))


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build AdamW, Adam or SGD over the trainable parameters, one group for each (learning rate, decay).

    Raises:
        ValueError: no parameter is trainable, or SOLVER.OPTIMIZER is unknown.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for rule in parameter_rules(cfg, model):
        groups.setdefault((rule.lr, rule.weight_decay), []).append(rule.parameter)
    if not groups:
        raise ValueError("No parameter of the model is trainable.")
    params = [{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()]
    solver = cfg.SOLVER
    if solver.OPTIMIZER in ("ADAMW", "ADAM"):
        return _clipping(cfg, torch.optim.AdamW if solver.OPTIMIZER == "ADAMW" else torch.optim.Adam)(
            params, solver.BASE_LR
        )
    if solver.OPTIMIZER == "SGD":
        return _clipping(cfg, torch.optim.SGD)(
            params, solver.BASE_LR, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV
        )
    raise ValueError(f"SOLVER.OPTIMIZER={solver.OPTIMIZER}: choose ADAMW, ADAM or SGD.")


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Build the schedule of SOLVER.LR_SCHEDULER_NAME: one of Detectron2's, WarmupPolyLR, or ReduceLROnPlateau."""
    if cfg.SOLVER.LR_SCHEDULER_NAME == PLATEAU:
        return PlateauLR.from_config(cfg, optimizer)
    return build_detectron2_scheduler(cfg, optimizer)


def _clipping(cfg: CfgNode, optimizer: type) -> Callable[..., torch.optim.Optimizer]:
    """Return the optimizer class with a ``step`` that clips first.

    Clipping belongs there because torch's GradScaler unscales gradients just before it calls ``step``, and skips it
    where they are not finite.
    """
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED or clip.CLIP_TYPE != "full_model":
        return maybe_add_gradient_clipping(cfg, optimizer)  # Detectron2's: each parameter by itself, by value or norm

    class FullModelClipping(optimizer):
        def step(self, closure=None):
            parameters = [p for group in self.param_groups for p in group["params"]]
            norm = nn.utils.clip_grad_norm_(parameters, clip.CLIP_VALUE, clip.NORM_TYPE)
            if not torch.isfinite(norm):  # one such step would make every weight NaN
                logger.warning("The norm of the gradients is %s; this step is skipped.", norm.item())
                return None
            return super().step(closure)

    FullModelClipping.__name__ = FullModelClipping.__qualname__ = f"{optimizer.__name__}WithFullModelClipping"
    return FullModelClipping
