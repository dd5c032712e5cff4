"""Tensors to queries: modules and pure functions that know no data set and no file."""

from .clip import CLIP
from .head import FCCLIPHead

__all__ = ["CLIP", "FCCLIPHead"]
