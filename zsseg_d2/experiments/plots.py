"""How plots of suites look, and the plot that all tasks have: figures over iterations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..files import atomic_path
from .measures import Measure
from .results import Results

# Okabe and Ito's colours without yellow, which is too light for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
LINES = ("-", "--", ":", "-.")
HATCHES = ("", "//", "..", "xx")
GREY, LIGHT_GREY, DARK_GREY = "#666666", "#DDDDDD", "#333333"
_DPI = 150
_MOST_BANDS = 6


class Look(NamedTuple):
    """How one run is drawn, in every plot."""

    color: str
    marker: str
    line: str

    @property
    def hatch(self) -> str:
        """The hatch of a bar, which tells runs of one color apart as the line does."""
        return HATCHES[LINES.index(self.line)]


def look(index: int) -> Look:
    """Return how the run at place `index` is drawn; 70 differ."""
    return Look(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], LINES[index // len(COLOURS) % len(LINES)])


def looks(results: Results) -> dict[str, Look]:
    """Return how each run of a suite is drawn, by its name: the same in every plot, however many have been run."""
    return {row.run.name: look(k) for k, row in enumerate(row for row in results.rows if row.run.has_row)}


def new_figure(width: float, height: float, *, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Make a figure of `width` × `height` inches, and its axes in a line."""
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
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})
    return path


def over_iterations(
    results: Results, measures: Sequence[Measure], unit: str, path: Path, drawn: Mapping[str, Look]
) -> Path | None:
    """Draw a panel for each measure, with a line for each training with at least two evaluations.

    Bands of one deviation, where the lines are few enough.

    Args:
        results: of the suite.
        measures: a panel each.
        unit: of the measures.
        path: the file to write.
        drawn: how each run is drawn, by its name.
    """
    rows = [row for row in results.table() if len(row.history(measures[0])) > 1]
    if not rows:
        return None
    figure, axes = new_figure(4 * len(measures) + 3, 4.2, columns=len(measures))
    reference = results.row(role="zero_shot")
    for ax, measure in zip(axes, measures):
        for row in rows:
            style, curve = drawn[row.run.name], row.history(measure)
            if curve.empty:
                continue
            mean, half = curve["mean"], curve["std"].fillna(0.0)
            ax.plot(
                mean.index,
                mean,
                color=style.color,
                linestyle=style.line,
                marker=style.marker,
                ms=4.5,
                label=row.run.label,
            )
            if len(rows) <= _MOST_BANDS and curve["std"].notna().any():
                ax.fill_between(mean.index, mean - half, mean + half, color=style.color, alpha=0.15, linewidth=0)
        if reference is not None and reference.has(measure.key):
            ax.axhline(
                reference.mean(measure.key), color=GREY, linewidth=1, linestyle=(0, (1, 2)), label=reference.run.label
            )
        ax.set(title=measure.label, xlabel="iteration", ylabel=unit if ax is axes[0] else "")
        ax.set_xlim(left=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        low, high = ax.get_ylim()
        ax.set_ylim(max(0.0, low) if low > -5 else low, high)
        ax.tick_params(colors=DARK_GREY)
        ax.spines[["left", "bottom"]].set_color(LIGHT_GREY)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    return save(figure, path)


def known(value: float) -> float | None:
    """Return None for NaN, as Matplotlib wants it for a missing error bar."""
    return None if math.isnan(value) else value
