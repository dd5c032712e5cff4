"""Registries of the exchangeable parts of a model. Register a class and name it in the config to use it."""

from __future__ import annotations

from typing import Any

from fvcore.common.registry import Registry

from ..suggestions import did_you_mean

PIXEL_DECODER_REGISTRY = Registry("PIXEL_DECODER")
"""Pixel decoders by MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME, built as ``cls(cfg, input_shape)``;
see :class:`zsseg_d2.modeling.fcclip.interfaces.PixelDecoder`."""

TRANSFORMER_DECODER_REGISTRY = Registry("TRANSFORMER_DECODER")
"""Query decoders by MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME, built as ``cls(cfg)``;
see :class:`zsseg_d2.modeling.fcclip.interfaces.QueryDecoder`."""

CLIP_TOWER_REGISTRY = Registry("CLIP_TOWER")
"""Families of CLIP's convolutional image towers, built as ``cls(visual)``; the last registered that fits is used;
see :class:`zsseg_d2.modeling.clip.towers.CLIPTower`."""

REFERRING_DECODER_REGISTRY = Registry("REFERRING_DECODER")
"""Decoders of phrase segmentation by MODEL.REFERRING.DECODER, built as ``build(cfg, backbone)``;
see :mod:`zsseg_d2.modeling.referring.building`."""


def look_up(registry: Registry, key: str, name: str) -> Any:
    """Return what is registered under a name.

    Args:
        registry: one of this module.
        key: the config key that holds the name, for the message.
        name: its value.

    Raises:
        ValueError: If nothing is registered under the name.

    Example:
        >>> look_up(PIXEL_DECODER_REGISTRY, "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME", "MSDeformAttnPixelDecodr")
        Traceback (most recent call last):
        ...
        ValueError: MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME='MSDeformAttnPixelDecodr': unknown name. \
Did you mean MSDeformAttnPixelDecoder? Fix: choose one of MSDeformAttnPixelDecoder, or register your own.
    """
    if name in registry:
        return registry.get(name)
    names = sorted(known for known, _ in registry)
    raise ValueError(
        f"{key}='{name}': unknown name.{did_you_mean(name, names)} Fix: choose one of {', '.join(names)}, "
        "or register your own."
    )
