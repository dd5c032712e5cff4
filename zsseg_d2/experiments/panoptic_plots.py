"""Plots of panoptic suites: In against Out between the corners, and the alpha-curve of WiSE-FT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from ..evaluation.panoptic.alpha_curve import plot_alpha_curve
from .measures import Measure
from .panoptic import IN_LOST, TARGET
from .plots import GREY, LIGHT_GREY, Look, look, new_figure, save
from .results import Results, Row, mean_curve


def in_out_scatter(results: Results, path: Path) -> Path | None:
    """Draw every method as a point, with error bars of one deviation and lines of equal PQ All.

    The area of the target is green where all three corners are known.
    """
    rows = [(k, r) for k, r in enumerate(results.table()) if r.mean("in") is not None and r.mean("out") is not None]
    if not rows:
        return None
    figure, (ax,) = new_figure(8.6, 5.4)
    for k, row in rows:
        _point(ax, row, look(k))
    low_x, high_x = ax.get_xlim()
    low_y, high_y = ax.get_ylim()
    pad_x, pad_y = 0.06 * (high_x - low_x), 0.06 * (high_y - low_y)
    ax.set(xlim=(low_x - pad_x, high_x + pad_x), ylim=(low_y - pad_y, high_y + pad_y))
    share = _share_of_in(rows[0][1])
    if share is not None:
        _lines_of_all(ax, share)
        _target(ax, results, share)
    _corner_lines(ax, results)
    ax.set(xlabel="PQ of In (classes with labels)", ylabel="PQ of Out (classes without)")
    ax.grid(visible=False)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return save(figure, path)


def _point(ax: Axes, row: Row, style: Look) -> None:
    filled = not row.run.role
    ax.errorbar(
        row.mean("in"),
        row.mean("out"),
        xerr=row.std("in"),
        yerr=row.std("out"),
        fmt=style.marker,
        color=style.colour,
        markerfacecolor=style.colour if filled else "white",
        markeredgewidth=1.6,
        markersize=8,
        elinewidth=1,
        zorder=3,
        label=row.run.label,
    )


def _corner_lines(ax: Axes, results: Results) -> None:
    """Dashed: Out of zero shot and In of the lower bound, which a method ought to keep and to reach."""
    line = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (4, 3)), "zorder": 1}
    text = {"color": GREY, "fontsize": 7, "textcoords": "offset points"}
    zero, lower = results.row(role="zero_shot"), results.row(role="lower_bound")
    if zero is not None and zero.mean("out") is not None:
        ax.axhline(zero.mean("out"), **line)
        place = (1, zero.mean("out"))
        ax.annotate("Out of zero shot", place, (-3, 3), xycoords=ax.get_yaxis_transform(), ha="right", **text)
    if lower is not None and lower.mean("in") is not None:
        ax.axvline(lower.mean("in"), **line)
        place, turned = (lower.mean("in"), 1), {"ha": "right", "va": "top", "rotation": 90}
        ax.annotate("In of the lower bound", place, (-3, -4), xycoords=ax.get_xaxis_transform(), **turned, **text)


def _share_of_in(row: Row) -> float | None:
    """The weight of In in PQ All."""
    sizes = next((s.details["sizes"] for s in row.there if s.details.get("sizes")), {})
    return sizes["in"] / (sizes["in"] + sizes["out"]) if sizes.get("in") and sizes.get("out") else None


def _lines_of_all(ax: Axes, share: float) -> None:
    """Lines of equal PQ All = share · In + (1 - share) · Out, labelled where they leave the axes."""
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


def _target(ax: Axes, results: Results, share: float) -> None:
    upper, lower, zero = (results.row(role=role) for role in ("upper_bound", "lower_bound", "zero_shot"))
    if any(row is None or row.mean(key) is None for row, key in ((upper, "all"), (lower, "in"), (zero, "out"))):
        return
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    x = np.linspace(max(lower.mean("in") - IN_LOST, left), right, 50)
    floor = np.maximum((TARGET * upper.mean("all") - share * x) / (1 - share), zero.mean("out"))
    label = f"target: All ≥ {100 * TARGET:.0f} % of the upper bound,\nIn ≥ lower bound − {IN_LOST:g}, Out > zero shot"
    if len(x) and (floor < top).any():
        ax.fill_between(
            x, floor, top, where=floor < top, color="#009E73", alpha=0.12, linewidth=0, zorder=0, label=label
        )
    ax.set(xlim=(left, right), ylim=(bottom, top))


def over_alpha(row: Row, measures: Sequence[Measure], path: Path) -> Path | None:
    """Draw the curve of a run: mean over seeds, with error bars of one deviation."""
    curves = [seed.curve for seed in row.there if seed.curve]
    points: dict[float, dict[str, float]] = {}
    errors: dict[float, dict[str, float]] = {}
    for measure in measures:
        of_seeds = [{p["alpha"]: p[measure.key] for p in curve if measure.key in p} for curve in curves]
        for alpha, figures in mean_curve(of_seeds).iterrows():
            points.setdefault(alpha, {"alpha": alpha})[measure.point] = figures["mean"]
            errors.setdefault(alpha, {"alpha": alpha})[measure.point] = figures["std"]
    if not points:
        return None
    spread = list(errors.values()) if len(curves) > 1 else None
    plot_alpha_curve(path, list(points.values()), errors=spread, title=row.run.label)
    return path
