"""Referring segmentation: counts, scores, PhraseCut's subsets, the evaluator, and images to look at."""

from .metrics import (
    THRESHOLDS,
    CountTable,
    MaskCounts,
    average_precision,
    choose_threshold,
    clipseg_scores,
    count_mask,
    official_scores,
    pixel_scores,
    task_dice,
    task_iou,
    threshold_index,
)
from .phrase_visualization import PhraseVisualizer, paint_mask
from .referring_evaluator import ReferringEvaluator, record_mask
from .referring_report import SCORES, all_scores, format_table, referring_report
from .subsets import SUBSETS, SubsetFinder, TaskFacts

__all__ = [
    "SCORES",
    "SUBSETS",
    "THRESHOLDS",
    "CountTable",
    "MaskCounts",
    "PhraseVisualizer",
    "ReferringEvaluator",
    "SubsetFinder",
    "TaskFacts",
    "all_scores",
    "average_precision",
    "choose_threshold",
    "clipseg_scores",
    "count_mask",
    "format_table",
    "official_scores",
    "paint_mask",
    "pixel_scores",
    "record_mask",
    "referring_report",
    "task_dice",
    "task_iou",
    "threshold_index",
]
