"""Segments -> scores: streaming, exact, distributed."""

from .counting import PanopticCounts, count_image
from .panoptic_quality import EvaluationError, PanopticQualityEvaluator

__all__ = ["EvaluationError", "PanopticCounts", "PanopticQualityEvaluator", "count_image"]
