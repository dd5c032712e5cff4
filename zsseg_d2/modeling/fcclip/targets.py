"""What the criterion compares: targets, their doubt, and predictions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Doubt:
    """How sure the targets of an image are, where a model made some of them.

    Attributes:
        classes: (N, K + 1) class probabilities of each target, in place of its label in the cross-entropy.
        weights: (N,) weight of each target in all losses; 1 for ground truth.
        pixels: (N, H, W) weight of each pixel in the mask losses; 1 for ground truth.
        void: (H, W) weight of an unmatched query whose mask lies there: 1 where surely no further object is.
    """

    classes: Tensor
    weights: Tensor
    pixels: Tensor
    void: Tensor


@dataclass(frozen=True)
class Target:
    """Ground truth of one image on the padded grid.

    Attributes:
        labels: (N,) columns of the classifier.
        masks: (N, H, W) bool; or probabilities, with `doubt`.
        ignore: (H, W) bool, pixels without a loss; None if there are none.
        doubt: None: the targets are certain.
    """

    labels: Tensor
    masks: Tensor
    ignore: Tensor | None = None
    doubt: Doubt | None = None


@dataclass(frozen=True)
class Prediction:
    """Prediction for one image after one decoder layer.

    Attributes:
        class_logits: (Q, K + 1), no-object last.
        mask_embeds: One (Q, C) tensor per model whose masks make the prediction: one, or two that are fused.
    """

    class_logits: Tensor
    mask_embeds: tuple[Tensor, ...]
