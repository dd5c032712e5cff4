"""Whether grey levels vary smoothly within an object and differ across objects: pairs of pixels and Welch's test."""

from .analysis import run_smoothness
from .object_maps import merge_instances, object_maps
from .pixel_pairs import PixelPairs, draw_pairs
from .plot import plot_comparison
from .statistics import compare_pairs, explain, format_comparison

__all__ = [
    "PixelPairs",
    "compare_pairs",
    "draw_pairs",
    "explain",
    "format_comparison",
    "merge_instances",
    "object_maps",
    "plot_comparison",
    "run_smoothness",
]
