"""Registries of the exchangeable parts of a model. Register a class and name it in the config to use it."""

from __future__ import annotations

from ..registry import NamedRegistry

PIXEL_DECODER_REGISTRY = NamedRegistry("pixel decoder", "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME")
"""Built as ``cls(cfg, input_shape)``; see :class:`zsseg_d2.modeling.fcclip.interfaces.PixelDecoder`."""

TRANSFORMER_DECODER_REGISTRY = NamedRegistry("query decoder", "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME")
"""Built as ``cls(cfg)``; see :class:`zsseg_d2.modeling.fcclip.interfaces.QueryDecoder`."""

CLIP_TOWER_REGISTRY = NamedRegistry("CLIP tower", "MODEL.FC_CLIP.CLIP_MODEL_NAME")
"""Families of convolutional image towers, built as ``cls(visual)``. The model decides, not a name: the last registered
that fits is used. See :class:`zsseg_d2.modeling.clip.towers.CLIPTower`."""

REFERRING_DECODER_REGISTRY = NamedRegistry("decoder", "MODEL.REFERRING.DECODER")
"""Decoders of phrase segmentation; see :class:`zsseg_d2.modeling.referring.interface.ReferringDecoder`."""

COMPOSITE_NET_REGISTRY = NamedRegistry("network of composites", "MODEL.COMPOSITES.NET")
"""Networks that find mask and depth of a composite, built as ``cls(channels, depth)``; see
:class:`zsseg_d2.modeling.composites.interface.CompositeNet`."""
