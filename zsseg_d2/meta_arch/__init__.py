"""Registered meta-architectures, one a file."""

from .auto_vocabulary import AutoVocabularyFCCLIP
from .combined import CombinedFCCLIP
from .distilled import DistilledFCCLIP
from .fcclip import FCCLIP
from .mask_depth_unet import MaskDepthUNet
from .mean_teacher import MeanTeacherFCCLIP
from .naive_intersection import NaiveIntersection
from .referring import ReferringSegmentor

__all__ = [
    "FCCLIP",
    "AutoVocabularyFCCLIP",
    "CombinedFCCLIP",
    "DistilledFCCLIP",
    "MaskDepthUNet",
    "MeanTeacherFCCLIP",
    "NaiveIntersection",
    "ReferringSegmentor",
]
