"""Suites about phrases: how well decoders and losses find what a phrase means."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...files import atomic_path
from .facts import (TIME, TRAINABLE_PARAMETERS)
from .measures import (Measure, Task)

if TYPE_CHECKING:
    from .results import (Results, Row)

MEAN_IOU = Measure("mean_iou", "mean IoU", ("mean_iou",), scalar="referring/mean_iou")
BLIND = Measure("blind", "phrase-blind IoU", ("phrase_blind", "mean_iou"), ranks=False)
MEASURES = (
    MEAN_IOU,
    Measure("cum_iou", "cumulative IoU", ("cum_iou",)),
    Measure("acc_50", "accuracy at 0.5", ("acc@0.5",)),
    Measure("pixel_accuracy", "pixel accuracy", ("pixel_accuracy",)),
    Measure("dice", "Dice", ("dice",)),
    BLIND,
)
LOSS = Measure("loss", "loss", scalar="total_loss")

TARGET = 60.0
"""Mean IoU that the project asks of its best decoder on MiniPhrases."""


def details(content: Mapping) -> dict:
    """Of a referring.json: the subsets' sizes and mean IoU."""
    return {
        "per_class": {
            name: {"mean IoU": scores.get("mean_iou"), "n": scores.get("n"), "group": ""}
            for name, scores in content.get("subsets", {}).items()
            if scores.get("n")
        }
    }


def best(results: Results) -> Row | None:
    """The row with the highest mean IoU."""
    rows = [row for row in results.competitors() if row.mean(MEAN_IOU.key) is not None]
    return max(rows, key=lambda row: row.mean(MEAN_IOU.key), default=None)


def remarks(results: Results) -> list[str]:
    """The best decoder, what it scores without hearing the phrase, and the target."""
    row = best(results)
    if row is None:
        return []
    value, blind = row.mean(MEAN_IOU.key), row.mean(BLIND.key)
    said = f"The best mean IoU is **{row.spec.label}**'s with {value:.1f}"
    if blind is not None:
        said += f"; its masks of another phrase about the same image reach {blind:.1f} (phrase-blind)"
    return [f"{said}.", f"Target: mean IoU at least {TARGET:g}. {'Reached' if value >= TARGET else 'Not reached'}."]


def plots(results: Results, folder: Path) -> list[Path]:
    """Mean IoU by decoder and loss, both over the iterations, and the samples of the best row as a strip and a GIF."""
    from . import plots as general  # matplotlib takes a second to import: only where something is drawn
    from .referring_plots import (bars, loss_curves)

    made = [
        bars(results, MEAN_IOU, folder / "mean_iou.png"),
        loss_curves(results, LOSS, folder / "losses.png"),
        general.over_iterations(results, (MEAN_IOU,), "percent", folder / "iterations.png"),
        *_samples(results, folder),
    ]
    return [path for path in made if path is not None]


def _samples(results: Results, folder: Path) -> list[Path]:
    row = best(results)
    first = row.first() if row else None
    made = []
    for name in ("strip.png", "samples.gif"):
        source = first.folder / "samples" / name if first and first.folder else None
        if source is not None and source.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(folder / name) as beside:
                shutil.copyfile(source, beside)
            made.append(folder / name)
    return made


REFERRING = Task(
    metrics_file="referring.json",
    measures=MEASURES,
    facts=(TRAINABLE_PARAMETERS, TIME),
    details=details,
    remarks=remarks,
    plots=plots,
    logged=(LOSS,),
)
