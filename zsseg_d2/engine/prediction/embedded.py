"""The embedded model: whether it is the one that is asked for, what it is good for, and how to get another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..config.packaged import find_configs

DRAWN_STREETS = (
    "The embedded model knows drawn street scenes, and finds little in photographs. For photographs, put "
    "fcclip_cocopan.pth ('Model Zoo' of https://github.com/bytedance/fc-clip) into weights/; open_clip downloads its "
    "CLIP, convnext_large_d_320 laion2b_s29b_b131k_ft_soup, from "
    "https://huggingface.co/laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup (without a network: "
    "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS FILE); and add --config-file configs/coco/fcclip.yaml "
    "configs/towers/convnext_large.yaml MODEL.WEIGHTS weights/fcclip_cocopan.pth (docs/predict.md)."
)
"""For users of the model of :data:`zsseg_d2.engine.prediction.predictor.DEFAULT_CONFIG`."""


def is_embedded(config: str | os.PathLike | Sequence[str | os.PathLike], default: str, options: Sequence[Any]) -> bool:
    """Return whether a config and KEY VALUE pairs leave the default config its own weights."""
    given, embedded = ([path.resolve() for path in find_configs(names)] for names in (config, default))
    return given == embedded and "MODEL.WEIGHTS" not in options
