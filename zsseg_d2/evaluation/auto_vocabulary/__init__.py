"""LAVE: what the words of an auto-vocabulary are worth, mapped to the classes of a dataset (arXiv 2312.04539)."""

from .evaluator import AutoVocabularyEvaluator
from .mappings import cosine_mapping, read_mapping
from .relations import LEVELS, ClassFinder
from .report import PUBLISHED, auto_vocabulary_report, format_report
from .word_counts import WordCounts, count_words, mapped_iou, word_quality

__all__ = [
    "LEVELS",
    "PUBLISHED",
    "AutoVocabularyEvaluator",
    "ClassFinder",
    "WordCounts",
    "auto_vocabulary_report",
    "count_words",
    "format_report",
    "mapped_iou",
    "read_mapping",
    "word_quality",
    "cosine_mapping",
]
