"""Plots of panoptic suites: class by class, In against Out between the corners, and the curve of WiSE-FT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..evaluation.panoptic.alpha_curve import plot_alpha_curve
from .measures import ALL, HARMONIC, IN, OUT, Measure
from .plots import DARK_GREY, GREY, LIGHT_GREY, known, look, new_figure, over_iterations, save
from .remarks import IN_LOST, TARGET
from .results import Results, Row, mean_curve


def draw(results: Results, folder: Path) -> list[Path | None]:
    """Draw all plots of a panoptic suite; None where the results are not enough for one."""
    if results.suite.compare:
        compared = [row for name in results.suite.compare for row in results.table() if row.run.name == name]
    else:
        corners = [results.row(role=role) for role in ("zero_shot", "lower_bound", "upper_bound")]
        compared = [row for row in (*corners, results.best("all")) if row is not None]
    curves = [row for row in results.rows if row.run.curve and not row.run.of]
    return [
        over_iterations(results, (ALL, IN, OUT), "PQ", folder / "iterations.png"),
        per_class(compared, "PQ", folder / "classes.png"),
        in_out_scatter(results, folder / "in_out.png"),
        *(over_alpha(row, (ALL, IN, OUT, HARMONIC), folder / f"{row.run.name}.png") for row in curves),
    ]


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
        seeds = [s.details.get("per_class", {}) for s in row.there]
        values = pd.DataFrame([{name: scores.get(key) for name, scores in seed.items()} for seed in seeds], dtype=float)
        middle, half = (figures.reindex(names).fillna(0.0) for figures in (values.mean(), values.std()))
        x = [i + (k - (len(rows) - 1) / 2) * width for i in range(len(names))]
        ax.bar(x, middle, width * 0.92, color=look(k).color, label=row.run.label)
        if half.any():
            ax.errorbar(x, middle, half, fmt="none", ecolor=DARK_GREY, elinewidth=0.8)
    for group in groups:
        members = [i for i, name in enumerate(names) if classes[name]["group"] == group]
        middle_x = sum(members) / len(members)
        ax.text(middle_x, 1.01, group, transform=ax.get_xaxis_transform(), ha="center", weight="bold")
        if members[0]:
            ax.axvline(members[0] - 0.5, color=GREY, linewidth=1)
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    ax.set(ylabel=key, xlim=(-0.6, len(names) - 0.4), ylim=(0, min(100, ax.get_ylim()[1])))
    ax.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=min(len(rows), 4), frameon=False, fontsize=9)
    return save(figure, path)


def in_out_scatter(results: Results, path: Path) -> Path | None:
    """Draw every method as a point, with error bars of one deviation and lines of equal PQ All.

    The area of the target is green where all three corners are known.
    """
    rows = [(look(k), row) for k, row in enumerate(results.table()) if row.has("in", "out")]
    if not rows:
        return None
    figure, (ax,) = new_figure(8.6, 5.4)
    for style, row in rows:
        ax.errorbar(
            row.mean("in"),
            row.mean("out"),
            xerr=known(row.std("in")),
            yerr=known(row.std("out")),
            fmt=style.marker,
            color=style.color,
            markerfacecolor="white" if row.run.role else style.color,
            markeredgewidth=1.6,
            markersize=8,
            elinewidth=1,
            zorder=3,
            label=row.run.label,
        )
    (low_x, high_x), (low_y, high_y) = ax.get_xlim(), ax.get_ylim()
    pad_x, pad_y = 0.06 * (high_x - low_x), 0.06 * (high_y - low_y)
    ax.set(xlim=(low_x - pad_x, high_x + pad_x), ylim=(low_y - pad_y, high_y + pad_y))
    # PQ All = share · In + (1 - share) · Out
    sizes: dict[str, int] = next((s.details["sizes"] for s in rows[0][1].there if s.details.get("sizes")), {})
    if sizes.get("in") and sizes.get("out"):
        share = sizes["in"] / (sizes["in"] + sizes["out"])
        _lines_of_all(ax, share)
        _target_area(ax, results, share)
    _corner_lines(ax, results)
    ax.set(xlabel="PQ of In (classes with labels)", ylabel="PQ of Out (classes without)")
    ax.grid(visible=False)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return save(figure, path)


def _corner_lines(ax: Axes, results: Results) -> None:
    """Draw dashed lines at Out of zero shot and In of the lower bound, which a method ought to keep and to reach."""
    line: dict[str, Any] = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (4, 3)), "zorder": 1}
    text: dict[str, Any] = {"color": GREY, "fontsize": 7, "textcoords": "offset points"}
    zero, lower = results.row(role="zero_shot"), results.row(role="lower_bound")
    if zero is not None and zero.has("out"):
        y = zero.mean("out")
        ax.axhline(y, **line)
        ax.annotate("Out of zero shot", (1, y), (-3, 3), xycoords=ax.get_yaxis_transform(), ha="right", **text)
    if lower is not None and lower.has("in"):
        x = lower.mean("in")
        ax.axvline(x, **line)
        text |= {"ha": "right", "va": "top", "rotation": 90}
        ax.annotate("In of the lower bound", (x, 1), (-3, -4), xycoords=ax.get_xaxis_transform(), **text)


def _lines_of_all(ax: Axes, share: float) -> None:
    """Draw lines of equal PQ All, labelled where they leave the axes."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    lowest, highest = share * left + (1 - share) * bottom, share * right + (1 - share) * top
    step = next((s for s in (1, 2, 5, 10) if (highest - lowest) / s <= 10), 20)
    for level in np.arange(np.ceil(lowest / step) * step, highest, step):
        x = np.array([left, right])
        ax.plot(x, (level - share * x) / (1 - share), color=LIGHT_GREY, linewidth=0.9, zorder=0)
        end = (level - (1 - share) * top) / share  # where the line leaves at the top, else at the left
        place = (end, top) if left <= end <= right else (left, (level - share * left) / (1 - share))
        if place[1] <= top and place[0] <= right:
            ax.annotate(f"All {level:.0f}", place, xytext=(3, -9), textcoords="offset points", fontsize=7, color=GREY)
    ax.set(xlim=(left, right), ylim=(bottom, top))


def _target_area(ax: Axes, results: Results, share: float) -> None:
    upper, lower, zero = (results.row(role=role) for role in ("upper_bound", "lower_bound", "zero_shot"))
    if upper is None or lower is None or zero is None:
        return
    if not (upper.has("all") and lower.has("in") and zero.has("out")):
        return
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    x = np.linspace(max(lower.mean("in") - IN_LOST, left), right, 50)
    floor = np.maximum((TARGET * upper.mean("all") - share * x) / (1 - share), zero.mean("out"))
    label = f"target: All ≥ {100 * TARGET:.0f} % of the upper bound,\nIn ≥ lower bound − {IN_LOST:g}, Out > zero shot"
    if (floor < top).any():
        style: dict[str, Any] = {"color": "#009E73", "alpha": 0.12, "linewidth": 0, "zorder": 0}
        ax.fill_between(x, floor, top, where=floor < top, label=label, **style)
    ax.set(xlim=(left, right), ylim=(bottom, top))


def over_alpha(row: Row, measures: Sequence[Measure], path: Path) -> Path | None:
    """Draw the WiSE-FT curve of a run, with error bars of one deviation."""
    curves = [seed.curve for seed in row.there if seed.curve]
    points: dict[float, dict[str, float]] = {}
    errors: dict[float, dict[str, float]] = {}
    for measure in measures:
        curve = mean_curve({p["alpha"]: p[measure.key] for p in curve if measure.key in p} for curve in curves)
        for alpha, mean, std in curve.itertuples():
            points.setdefault(alpha, {"alpha": alpha})[measure.point] = mean
            errors.setdefault(alpha, {"alpha": alpha})[measure.point] = std
    if not points:
        return None
    spread = list(errors.values()) if len(curves) > 1 else None
    plot_alpha_curve(path, list(points.values()), errors=spread, title=row.run.label)
    return path
