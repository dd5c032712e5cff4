"""Segments to scores: streaming, exact and distributed evaluation.

* :mod:`.panoptic`: panoptic quality, by group of classes, and images to look at.
* :mod:`.semantic`: intersection over union and accuracy of label maps.
* :mod:`.referring`: PhraseCut's and CLIPSeg's scores of masks found by phrases.
* :mod:`.smoothness`: whether grey levels vary smoothly within objects and differ across them.
"""

from .completeness import EvaluationError
from .panoptic import (
    ClasswiseArithmeticEvaluator,
    PanopticCounts,
    PanopticQualityEvaluator,
    count_image,
    save_comparison,
)
from .semantic import SemanticEvaluator

__all__ = [
    "ClasswiseArithmeticEvaluator",
    "EvaluationError",
    "PanopticCounts",
    "PanopticQualityEvaluator",
    "SemanticEvaluator",
    "count_image",
    "save_comparison",
]
