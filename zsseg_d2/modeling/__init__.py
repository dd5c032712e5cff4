"""Tensors to queries: modules and pure functions that know no data set and no file."""

from .clip.backbone import CLIP
from .fcclip.head import FCCLIPHead

__all__ = ["CLIP", "FCCLIPHead"]
