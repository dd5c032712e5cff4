"""Semantic segmentation: intersection over union and accuracy of the pixels' classes."""

from .evaluator import SemanticEvaluator
from .report import semantic_report

__all__ = ["SemanticEvaluator", "semantic_report"]
