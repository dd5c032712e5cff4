"""The in/out-of-vocabulary ensemble and the void rule of FC-CLIP (Yu et al. 2023, equations 6 to 8). Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from torch import Tensor


@dataclass(frozen=True)
class ScoringSettings:
    """How in-vocabulary and CLIP's scores become one (MODEL.FC_CLIP and ZSSEG).

    Attributes:
        ensemble: Join CLIP's scores of regions; if False, the decoder's scores alone count.
        alpha: Weight of CLIP's score for seen classes.
        beta: Weight of CLIP's score for unseen classes.
        on_valid_mask: Leave CLIP's score out where a mask is empty at stride 32.
        void_rule: Scale class scores by 1 - p_void; if False, no query is void.
        void_suppression: w of p_void · (1 - w · max CLIP probability), in [0, 1].
    """

    ensemble: bool = True
    alpha: float = 0.4
    beta: float = 0.8
    on_valid_mask: bool = False
    void_rule: bool = True
    void_suppression: float = 0.0

    @classmethod
    def from_config(cls, cfg: CfgNode) -> ScoringSettings:
        clip, zsseg = cfg.MODEL.FC_CLIP, cfg.ZSSEG
        return cls(
            ensemble=zsseg.ENSEMBLE,
            alpha=clip.GEOMETRIC_ENSEMBLE_ALPHA,
            beta=clip.GEOMETRIC_ENSEMBLE_BETA,
            on_valid_mask=clip.ENSEMBLE_ON_VALID_MASK,
            void_rule=zsseg.VOID_RULE,
            void_suppression=zsseg.VOID_SUPPRESSION,
        )

    @property
    def reads_regions(self) -> bool:
        """Whether CLIP's scores of regions change the result."""
        return self.ensemble or bool(self.void_suppression)


def join_scores(
    in_logits: Tensor, out_logits: Tensor | None, seen: Tensor, settings: ScoringSettings, valid: Tensor | None = None
) -> Tensor:
    """Compute log-probabilities after the ensemble and the void rule.

    Args:
        in_logits: (..., Q, K + 1) the decoder's class logits, void last.
        out_logits: (..., Q, K) CLIP's class logits; None: the decoder's alone count.
        seen: (K,) bool.
        settings: How the scores are joined.
        valid: (..., Q) bool; where False, CLIP's score is left out. None: everywhere True.

    Returns:
        (..., Q, K + 1), void last.
    """
    void = in_logits.softmax(-1)[..., -1]
    if not settings.void_rule:
        void = torch.zeros_like(void)
    scores = in_logits[..., :-1]
    if out_logits is None:
        return apply_void_rule(scores, void)
    void = suppress_void(void, out_logits, settings.void_suppression, valid)
    if settings.ensemble:
        scores = geometric_ensemble(scores, out_logits, seen, settings.alpha, settings.beta, valid)
    return apply_void_rule(scores, void)


def geometric_ensemble(
    in_logits: Tensor, out_logits: Tensor, seen: Tensor, alpha: float, beta: float, valid: Tensor | None = None
) -> Tensor:
    """Mix the decoder's and CLIP's class probabilities: log(in^(1-w) · out^w).

    w is alpha for seen classes and beta for unseen ones. Computed from log-probabilities: a probability that underflows
    gives a very small score, never ``0 · log 0``.

    Args:
        in_logits: (..., Q, K) the decoder's class logits without void.
        out_logits: (..., Q, K) CLIP's class logits without void.
        seen: (K,) bool.
        alpha, beta: weights of CLIP in [0, 1].
        valid: (..., Q) bool; where False, CLIP's score is left out. None: everywhere True.

    Returns:
        (..., Q, K) unnormalised log-scores.

    Example:
        >>> inside, outside = torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[0.5, 0.5]]).log()
        >>> seen = torch.tensor([True, False])  # 0.8^0.6 · 0.5^0.4 and 0.2^0.2 · 0.5^0.8
        >>> geometric_ensemble(inside, outside, seen, alpha=0.4, beta=0.8).exp()
        tensor([[0.6629, 0.4163]])
    """
    inside, outside = in_logits.log_softmax(-1), out_logits.log_softmax(-1)
    weight = torch.where(seen, alpha, beta).to(inside)
    mixed = (1 - weight) * inside + weight * outside
    return mixed if valid is None else torch.where(valid[..., None], mixed, inside)


def apply_void_rule(class_scores: Tensor, void_probability: Tensor) -> Tensor:
    """Scale class probabilities by (1 - p_void) and append p_void.

    Args:
        class_scores: (..., Q, K) unnormalised log-scores.
        void_probability: (..., Q).

    Returns:
        (..., Q, K + 1) log-probabilities; 1e-8 is added before the logarithm, as in FC-CLIP.
    """
    void = void_probability[..., None]
    return torch.log(torch.cat((class_scores.softmax(-1) * (1 - void), void), dim=-1) + 1e-8)


def suppress_void(void_probability: Tensor, out_logits: Tensor, weight: float, valid: Tensor | None = None) -> Tensor:
    """Lower the void probability of regions that CLIP is certain about: p_void · (1 - w · max_k p_CLIP(k)).

    Args:
        void_probability: (..., Q).
        out_logits: (..., Q, K) CLIP's class logits.
        weight: w in [0, 1]; 0 changes nothing.
        valid: (..., Q) bool; where False, CLIP's score is left out. None: everywhere True.

    Returns:
        (..., Q).
    """
    if not weight:
        return void_probability
    suppressed = void_probability * (1 - weight * out_logits.softmax(-1).amax(-1))
    return suppressed if valid is None else torch.where(valid, suppressed, void_probability)
