"""Plots that any suite may use: figures over iterations, class by class, and how they look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..files import atomic_path
from .measures import Measure
from .results import Results, Row, mean_curve

# Okabe and Ito's colours without yellow, which is too light for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
LINES = ("-", "--", ":", "-.")
GREY, LIGHT_GREY = "#666666", "#DDDDDD"
_DPI = 150
_MOST_BANDS = 6


@dataclass(frozen=True)
class Look:
    """How one run is drawn, in every plot."""

    colour: str
    marker: str
    line: str


def look(index: int) -> Look:
    """How the run at place `index` is drawn; 70 differ."""
    return Look(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], LINES[index // len(COLOURS) % len(LINES)])


def new_figure(width: float, height: float, *, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Make a figure, and its axes in a line.

    Args:
        width: in inches, as is `height`.
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


def band(ax: Axes, curve: pd.DataFrame, colour: str) -> None:
    """Draw a light band of one deviation above and below a mean curve, where it is known."""
    if curve["std"].notna().any():
        half = curve["std"].fillna(0.0)
        ax.fill_between(curve.index, curve["mean"] - half, curve["mean"] + half, color=colour, alpha=0.15, linewidth=0)


def over_iterations(results: Results, measures: Sequence[Measure], unit: str, path: Path) -> Path | None:
    """Draw a panel for each measure, with a line for each training with at least two evaluations: mean over seeds.

    Bands of one deviation, where the lines are few enough.
    """
    rows = [(k, row) for k, row in enumerate(results.table()) if len(_history(row, measures[0])) > 1]
    if not rows:
        return None
    figure, axes = new_figure(4 * len(measures) + 3, 4.2, columns=len(measures))
    reference = results.row(role="zero_shot")
    for ax, measure in zip(axes, measures):
        for k, row in rows:
            style, curve = look(k), _history(row, measure)
            if curve.empty:
                continue
            line = {"color": style.colour, "linestyle": style.line, "marker": style.marker, "ms": 4.5}
            ax.plot(curve.index, curve["mean"], **line, label=row.run.label)
            if len(rows) <= _MOST_BANDS:
                band(ax, curve, style.colour)
        if reference is not None and reference.mean(measure.key) is not None:
            line = {"color": GREY, "linewidth": 1, "linestyle": (0, (1, 2))}
            ax.axhline(reference.mean(measure.key), **line, label=reference.run.label)
        ax.set(title=measure.label, xlabel="iteration", ylabel=unit if ax is axes[0] else "")
        ax.set_xlim(left=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        _room_above(ax)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    return save(figure, path)


def per_class(rows: Sequence[Row], key: str, path: Path) -> Path | None:
    """Draw bars of some runs, class by class, grouped; error bars of one deviation.

    Args:
        rows: `details["per_class"]` of their seeds is ``{class: {key: float, "group": str}}``.
    """
    rows = [row for row in rows if row.there and row.there[0].details.get("per_class")]
    if not rows:
        return None
    classes = rows[0].there[0].details["per_class"]
    groups = list(dict.fromkeys(c["group"] for c in classes.values()))
    names = sorted(classes, key=lambda name: groups.index(classes[name]["group"]))
    figure, (ax,) = new_figure(max(8.0, 0.62 * len(names) + 2), 4.8)
    width = 0.84 / len(rows)
    for k, row in enumerate(rows):
        found = _class_values(row, key)
        middle, half = found.mean().reindex(names).fillna(0.0), found.std().reindex(names).fillna(0.0)
        x = [i + (k - (len(rows) - 1) / 2) * width for i in range(len(names))]
        ax.bar(x, middle, width * 0.92, color=look(k).colour, label=row.run.label)
        if half.any():
            ax.errorbar(x, middle, half, fmt="none", ecolor="#333333", elinewidth=0.8)
    for group in groups:
        members = [i for i, name in enumerate(names) if classes[name]["group"] == group]
        ax.text(
            sum(members) / len(members), 1.01, group, transform=ax.get_xaxis_transform(), ha="center", weight="bold"
        )
        if members[0]:
            ax.axvline(members[0] - 0.5, color=GREY, linewidth=1)
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    ax.set(ylabel=key, xlim=(-0.6, len(names) - 0.4), ylim=(0, min(100, ax.get_ylim()[1])))
    ax.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=min(len(rows), 4), frameon=False, fontsize=9)
    return save(figure, path)


def _class_values(row: Row, key: str) -> pd.DataFrame:
    """A figure of every class: a line for each seed, a column for each class."""
    classes = [s.details.get("per_class", {}) for s in row.there]
    return pd.DataFrame([{name: scores.get(key) for name, scores in seed.items()} for seed in classes], dtype=float)


def _history(row: Row, measure: Measure) -> pd.DataFrame:
    return mean_curve(dict(s.history[measure.key]) for s in row.there if measure.key in s.history)


def _room_above(ax: Axes) -> None:
    low, high = ax.get_ylim()
    ax.set_ylim(max(0.0, low) if low > -5 else low, high)
    ax.tick_params(colors="#333333")
    ax.spines[["left", "bottom"]].set_color(LIGHT_GREY)
