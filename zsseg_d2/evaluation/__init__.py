"""Segments -> scores: streaming, exact, distributed."""

from .panoptic.evaluator import ClasswiseArithmeticEvaluator, EvaluationError, PanopticQualityEvaluator
from .panoptic.panoptic_counts import PanopticCounts, count_image
from .panoptic.visualization import save_comparison

__all__ = [
    "ClasswiseArithmeticEvaluator",
    "EvaluationError",
    "PanopticCounts",
    "PanopticQualityEvaluator",
    "count_image",
    "save_comparison",
]
