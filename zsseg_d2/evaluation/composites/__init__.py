"""Composites: scores of masks and depths, the subtraction baseline, the evaluator."""

from .evaluator import CompositeEvaluator
from .scores import DepthSums, MaskCounts, compare_depths, compare_masks
from .subtraction import Differences, best_threshold, count_differences

__all__ = [
    "CompositeEvaluator",
    "DepthSums",
    "Differences",
    "MaskCounts",
    "best_threshold",
    "compare_depths",
    "compare_masks",
    "count_differences",
]
