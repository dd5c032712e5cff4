"""The captioners that MODEL.AUTO_VOCABULARY.CAPTIONER can name."""

from __future__ import annotations

from dataclasses import dataclass

from ..registry import NamedRegistry
from .captioner import Captioner

CAPTIONER_REGISTRY = NamedRegistry("captioner", "MODEL.AUTO_VOCABULARY.CAPTIONER")
"""Called as ``build(weights, decoding, device)``: MODEL.AUTO_VOCABULARY.CAPTIONER_WEIGHTS (str), :class:`Decoding`, and
a device (str). Returns a :class:`zsseg_d2.auto_vocabulary.captioner.Captioner` on that device."""


@dataclass(frozen=True)
class Decoding:
    """How texts are drawn (nucleus sampling, Holtzman et al. 2020).

    Attributes:
        min_tokens: of a text, without the token that starts it.
        max_tokens: of a text, without the token that starts it.
        top_p: at each step, the likeliest tokens that together have this probability may be drawn.
        no_repeat: runs of this many tokens do not occur twice in a text; 0: they may.
    """

    min_tokens: int = 4
    max_tokens: int = 25
    top_p: float = 0.9
    no_repeat: int = 2


def build_captioner(name: str, weights: str, decoding: Decoding, device: str = "cpu") -> Captioner:
    """Build a registered captioner.

    Args:
        name: MODEL.AUTO_VOCABULARY.CAPTIONER.
        weights: a file or a folder; each captioner says which.
        decoding: how texts are drawn.
        device: such as ``"cpu"`` or ``"cuda"``.

    Raises:
        ValueError: there is no such captioner, or the weights do not fit.
        FileNotFoundError: the weights are missing.
    """
    return CAPTIONER_REGISTRY.get(name)(weights, decoding, device)
