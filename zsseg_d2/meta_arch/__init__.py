"""Registered meta-architectures, one a file."""

from .anchored import AnchoredFCCLIP
from .auto_vocabulary import AutoVocabularyFCCLIP
from .combined import CombinedFCCLIP
from .distilled import DistilledFCCLIP
from .elastic import ElasticFCCLIP
from .fcclip import FCCLIP
from .frozen_queries import FrozenQueriesFCCLIP
from .interpolated import InterpolatedFCCLIP
from .low_rank import LowRankFCCLIP
from .mask_depth_unet import MaskDepthUNet
from .mean_teacher import MeanTeacherFCCLIP
from .naive_intersection import NaiveIntersection
from .referring import ReferringSegmentor

__all__ = [
    "FCCLIP",
    "AnchoredFCCLIP",
    "AutoVocabularyFCCLIP",
    "CombinedFCCLIP",
    "DistilledFCCLIP",
    "ElasticFCCLIP",
    "FrozenQueriesFCCLIP",
    "InterpolatedFCCLIP",
    "LowRankFCCLIP",
    "MaskDepthUNet",
    "MeanTeacherFCCLIP",
    "NaiveIntersection",
    "ReferringSegmentor",
]
