"""Plots that any suite may use: figures over iterations, and class by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .figures import (deviation, mean, mean_curve)
from .measures import Measure
from .plot_style import (GREY, LIGHT_GREY, band, look, new_figure, save)
from .results import (Results, Row)

_MOST_BANDS = 6


def over_iterations(results: Results, measures: Sequence[Measure], unit: str, path: Path) -> Path | None:
    """A panel a measure, a line a training with at least two evaluations: mean over seeds.

    Bands of one deviation where the lines are few enough.
    """
    rows = [(k, row) for k, row in enumerate(results.table()) if len(_history(row, measures[0])) > 1]
    if not rows:
        return None
    figure, axes = new_figure(4 * len(measures) + 3, 4.2, columns=len(measures))
    reference = results.row(role="zero_shot")
    for ax, measure in zip(axes, measures):
        for k, row in rows:
            style, points = look(k), _history(row, measure)
            if not points:
                continue
            x, middle, half = zip(*points)
            line = {"color": style.colour, "linestyle": style.line, "marker": style.marker, "ms": 4.5}
            ax.plot(x, middle, **line, label=row.spec.label)
            if len(rows) <= _MOST_BANDS:
                band(ax, x, middle, half, style.colour)
        if reference is not None and reference.mean(measure.key) is not None:
            line = {"color": GREY, "linewidth": 1, "linestyle": (0, (1, 2))}
            ax.axhline(reference.mean(measure.key), **line, label=reference.spec.label)
        ax.set(title=measure.label, xlabel="iteration", ylabel=unit if ax is axes[0] else "")
        ax.set_xlim(left=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        _room_above(ax)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    return save(figure, path)


def per_class(rows: Sequence[Row], key: str, path: Path) -> Path | None:
    """Bars of some runs, class by class, the classes of a group side by side; error bars of one deviation.

    Args:
        rows: `details["per_class"]` of their seeds is ``{class: {key: float, "group": str}}``.
    """
    rows = [row for row in rows if row.first() is not None and row.first().details.get("per_class")]
    if not rows:
        return None
    classes = rows[0].first().details["per_class"]
    groups = list(dict.fromkeys(c["group"] for c in classes.values()))
    names = sorted(classes, key=lambda name: groups.index(classes[name]["group"]))
    figure, (ax,) = new_figure(max(8.0, 0.62 * len(names) + 2), 4.8)
    width = 0.84 / len(rows)
    for k, row in enumerate(rows):
        found = [_class_values(row, name, key) for name in names]
        x = [i + (k - (len(rows) - 1) / 2) * width for i in range(len(names))]
        middle, half = [mean(v) or 0.0 for v in found], [deviation(v) or 0.0 for v in found]
        ax.bar(x, middle, width * 0.92, color=look(k).colour, label=row.spec.label)
        if any(half):
            ax.errorbar(x, middle, half, fmt="none", ecolor="#333333", elinewidth=0.8)
    for group in groups:
        members = [i for i, name in enumerate(names) if classes[name]["group"] == group]
        ax.text(sum(members) / len(members), 1.01, group, transform=ax.get_xaxis_transform(), ha="center", weight="bold")
        if members[0]:
            ax.axvline(members[0] - 0.5, color=GREY, linewidth=1)
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    ax.set(ylabel=key, xlim=(-0.6, len(names) - 0.4), ylim=(0, min(100, ax.get_ylim()[1])))
    ax.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=min(len(rows), 4), frameon=False, fontsize=9)
    return save(figure, path)


def _class_values(row: Row, name: str, key: str) -> list[float]:
    """A figure of a class in every seed."""
    found = [s.details.get("per_class", {}).get(name, {}).get(key) for s in row.seeds.values() if s.there]
    return [value for value in found if value is not None]


def _history(row: Row, measure: Measure) -> list[tuple[float, float, float | None]]:
    return mean_curve(dict(s.history[measure.key]) for s in row.seeds.values() if s.there and measure.key in s.history)


def _room_above(ax: Axes) -> None:
    low, high = ax.get_ylim()
    ax.set_ylim(max(0.0, low) if low > -5 else low, high)
    ax.tick_params(colors="#333333")
    ax.spines[["left", "bottom"]].set_color(LIGHT_GREY)
