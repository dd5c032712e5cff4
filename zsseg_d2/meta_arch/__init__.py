"""Registered meta-architectures, one a file."""

from .combined import CombinedFCCLIP
from .distilled import DistilledFCCLIP
from .fcclip import FCCLIP
from .naive_intersection import NaiveIntersection

__all__ = ["FCCLIP", "CombinedFCCLIP", "DistilledFCCLIP", "NaiveIntersection"]
