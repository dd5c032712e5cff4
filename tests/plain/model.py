"""Puts the plain forms into FC-CLIP: what the fast ones are compared with and timed against, in one context manager.

The forms themselves are the other modules of this folder, which import nothing of the package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from unittest import mock

from torch import Tensor

from zsseg_d2.modeling import fast_forms
from zsseg_d2.modeling.fcclip import pixel_decoder
from zsseg_d2.modeling.fcclip.criterion import SetCriterion
from zsseg_d2.modeling.fcclip.interfaces import Queries
from zsseg_d2.modeling.fcclip.query_decoder import MaskedAttentionDecoder

from . import criterion, decoder


@contextmanager
def plain_forms() -> Iterator[None]:
    """Compute as the published code does: the package's plain forms, every layer's predictions, every mask whole."""
    with ExitStack() as stack:
        stack.enter_context(fast_forms.plain_forms())
        for owner, name, plain in (
            (pixel_decoder, "_TOKENS", 1 << 40),
            (MaskedAttentionDecoder, "forward", _decode),
            (MaskedAttentionDecoder, "masks_padding", False),  # one image at a time
            (SetCriterion, "forward", _losses),
        ):
            stack.enter_context(mock.patch.object(owner, name, plain))
        yield


def _decode(
    self: MaskedAttentionDecoder, scales: list[Tensor], mask_features: Tensor, return_aux: bool
) -> list[Queries]:
    heads = self.transformer_self_attention_layers[0].self_attn.num_heads
    predictions = decoder.decode(dict(self.named_parameters()), scales, mask_features, heads=heads)
    return [Queries(*p) for p in (predictions if return_aux else predictions[-1:])]


def _losses(
    self: SetCriterion, layers: Sequence, mask_features: Sequence[tuple[Tensor]], targets: Sequence
) -> dict[str, Tensor]:
    return criterion.losses(layers, mask_features, targets, settings_of(self))


def settings_of(criterion_module: SetCriterion) -> criterion.Settings:
    """Return the settings of the package's criterion as those of the plain one."""
    w = criterion_module.weights
    return criterion.Settings(
        w["loss_ce"],
        w["loss_mask"],
        w["loss_dice"],
        criterion_module.no_object_weight,
        criterion_module.num_points,
        criterion_module.oversample_ratio,
        criterion_module.importance_sample_ratio,
    )
