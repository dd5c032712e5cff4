"""Segments -> scores: streaming, exact, distributed."""

from .counting import PanopticCounts, count_image
from .panoptic_quality import ClasswiseArithmeticEvaluator, EvaluationError, PanopticQualityEvaluator
from .pictures import save_comparison

__all__ = [
    "ClasswiseArithmeticEvaluator",
    "EvaluationError",
    "PanopticCounts",
    "PanopticQualityEvaluator",
    "count_image",
    "save_comparison",
]
