"""How plots of a suite look: colours that colour-blind readers can tell apart, sizes, files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...files import atomic_path

# Okabe and Ito's colours without yellow, which is too light for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
LINES = ("-", "--", ":", "-.")
GREY, LIGHT_GREY = "#666666", "#DDDDDD"
_DPI = 150


@dataclass(frozen=True)
class Look:
    """How one run is drawn, in every plot."""

    colour: str
    marker: str
    line: str


def look(index: int) -> Look:
    """Of the run at place `index`; 70 differ."""
    return Look(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], LINES[index // len(COLOURS) % len(LINES)])


def new_figure(width: float, height: float, *, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """
    Args:
        width: in inches, as height.
    Returns:
        A figure, and its axes side by side.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0].tolist()
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color=LIGHT_GREY, linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, axes


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as beside:
        figure.savefig(beside, format="png", dpi=_DPI, metadata={"Software": None})
    return path


def band(ax: Axes, x: Sequence[float], middle: Sequence[float], half: Sequence[float | None], colour: str) -> None:
    """A light band of `half` above and below a line, where it is known."""
    if any(h is not None for h in half):
        low = [m - (h or 0.0) for m, h in zip(middle, half)]
        high = [m + (h or 0.0) for m, h in zip(middle, half)]
        ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
