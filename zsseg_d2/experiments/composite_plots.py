"""Plots of suites about composites: mask IoU and depth error over the iterations, and strips of samples."""

from __future__ import annotations

from pathlib import Path

from .measures import ALIGNED_PERCENT, DEPTH_PERCENT, MASK_IOU
from .plots import looks, over_iterations
from .referring_plots import copy_sample
from .results import Results


def draw(results: Results, folder: Path) -> list[Path | None]:
    """Draw all plots of a suite about composites; None where the results are not enough for one."""
    depths = (m for m in (DEPTH_PERCENT, ALIGNED_PERCENT) if any(not row.history(m).empty for row in results.table()))
    return [
        over_iterations(results, (MASK_IOU, *depths), "percent", folder / "iterations.png", looks(results)),
        *(copy_sample(results.best(MASK_IOU.key), folder / name) for name in ("strip.png", "samples.gif")),
    ]
