"""Tensors to queries: modules and pure functions that know no dataset."""

from .clip.backbone import CLIP
from .fcclip.head import FCCLIPHead

__all__ = ["CLIP", "FCCLIPHead"]
