"""Registered meta-architectures, one a file."""

from .anchored import AnchoredFCCLIP
from .combined import CombinedFCCLIP
from .distilled import DistilledFCCLIP
from .fcclip import FCCLIP
from .frozen_queries import FrozenQueriesFCCLIP
from .low_rank import LowRankFCCLIP
from .mean_teacher import MeanTeacherFCCLIP
from .naive_intersection import NaiveIntersection
from .referring import ReferringSegmentor

__all__ = [
    "FCCLIP",
    "AnchoredFCCLIP",
    "CombinedFCCLIP",
    "DistilledFCCLIP",
    "FrozenQueriesFCCLIP",
    "LowRankFCCLIP",
    "MeanTeacherFCCLIP",
    "NaiveIntersection",
    "ReferringSegmentor",
]
