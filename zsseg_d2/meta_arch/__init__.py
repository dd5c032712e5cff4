"""Registered meta-architectures, one a file."""

from .combined import CombinedFCCLIP
from .distilled import DistilledFCCLIP
from .fcclip import FCCLIP
from .mask_depth_unet import MaskDepthUNet
from .naive_intersection import NaiveIntersection
from .referring import ReferringSegmentor

__all__ = ["FCCLIP", "CombinedFCCLIP", "DistilledFCCLIP", "MaskDepthUNet", "NaiveIntersection", "ReferringSegmentor"]
