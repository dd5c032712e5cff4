"""Panoptic quality: counts, scores, reports, the evaluator, and images to look at."""

from .alpha_curve import alpha_name, alpha_table, plot_alpha_curve
from .evaluator import ClasswiseArithmeticEvaluator, PanopticQualityEvaluator
from .oracle import TrueClassEvaluator, TrueMaskEvaluator
from .panoptic_counts import PanopticCounts, class_quality, count_image, group_quality, harmonic_mean
from .predictions import PredictionWriter
from .report import format_table, panoptic_report, write_json
from .visualization import save_comparison

__all__ = [
    "ClasswiseArithmeticEvaluator",
    "PanopticCounts",
    "PanopticQualityEvaluator",
    "PredictionWriter",
    "TrueClassEvaluator",
    "TrueMaskEvaluator",
    "alpha_name",
    "alpha_table",
    "class_quality",
    "count_image",
    "format_table",
    "group_quality",
    "harmonic_mean",
    "panoptic_report",
    "plot_alpha_curve",
    "save_comparison",
    "write_json",
]
