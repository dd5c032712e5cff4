"""What is said and drawn of suites about phrases: how well decoders and losses find what a phrase means."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..files import atomic_path
from .measures import BLIND, LOSS, MEAN_IOU
from .results import Results

TARGET = 60.0
"""Mean IoU that the project asks of its best decoder on MiniPhrases."""


def remarks(results: Results) -> list[str]:
    """Name the best decoder, what it scores without the phrase, and whether it reaches the target."""
    row = results.best(MEAN_IOU.key)
    if row is None:
        return []
    value, blind = row.mean(MEAN_IOU.key), row.mean(BLIND.key)
    said = f"The best mean IoU is **{row.run.label}**'s with {value:.1f}"
    if blind is not None:
        said += f"; its masks of another phrase about the same image reach {blind:.1f} (phrase-blind)"
    return [f"{said}.", f"Target: mean IoU at least {TARGET:g}. {'Reached' if value >= TARGET else 'Not reached'}."]


def plots(results: Results, folder: Path) -> list[Path]:
    """Draw mean IoU by decoder and loss, both over the iterations, and copy the samples of the best row."""
    # Matplotlib takes a second to import: only where something is drawn.
    from .plots import over_iterations
    from .referring_plots import bars, loss_curves

    made = [
        bars(results, MEAN_IOU, folder / "mean_iou.png"),
        loss_curves(results, LOSS, folder / "losses.png"),
        over_iterations(results, (MEAN_IOU,), "percent", folder / "iterations.png"),
        *_samples(results, folder),
    ]
    return [path for path in made if path is not None]


def _samples(results: Results, folder: Path) -> list[Path]:
    row = results.best(MEAN_IOU.key)
    first = row.there[0] if row else None
    made = []
    for name in ("strip.png", "samples.gif"):
        source = first.folder / "samples" / name if first and first.folder else None
        if source is not None and source.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(folder / name) as beside:
                shutil.copyfile(source, beside)
            made.append(folder / name)
    return made
