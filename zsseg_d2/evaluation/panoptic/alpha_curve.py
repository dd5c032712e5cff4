"""The WiSE-FT curve: panoptic quality over α, as a plot and as a table.

A point is ``{"alpha", "pq_all", "pq_in", "pq_out", "harmonic_mean"}`` in percent; a score is None or NaN if there is no
class to average.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tabulate import tabulate

from ...files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = Mapping[str, float | None]

# key, label, colour (Okabe and Ito's palette, which colour-blind readers can tell apart), marker, line
_CURVES = (
    ("pq_all", "All", "#000000", "o", "-"),
    ("pq_in", "In (labels kept)", "#0072B2", "s", "-"),
    ("pq_out", "Out (labels deleted)", "#D55E00", "^", "-"),
    ("harmonic_mean", "harmonic mean of In and Out", "#009E73", "D", "--"),
)
_OFFSETS = (
    (0, 12),
    (20, 0),
    (0, -12),
    (18, 11),
    (-18, 11),
    (18, -11),
    (-18, -11),
    (0, 23),
    (0, -23),
    (0, 34),
    (0, -34),
)
"""Offsets of a label from its point, in typographic points, in order of preference."""


def alpha_name(alpha: float) -> str:
    """Format α with at least two decimals.

    >>> alpha_name(0.5), alpha_name(0.125)
    ('0.50', '0.125')
    """
    return f"{alpha:.2f}" if math.isclose(alpha, round(alpha, 2), abs_tol=1e-12) else f"{alpha:g}"


def alpha_table(points: Sequence[Point]) -> str:
    """Format the points as a Markdown table, one row per point.

    >>> print(alpha_table([{"alpha": 0.5, "pq_all": 44.0, "pq_in": 60.0, "pq_out": None, "harmonic_mean": None}]))
    |    α |   PQ All |    In |   Out |   harmonic mean |
    |------|----------|-------|-------|-----------------|
    | 0.50 |    44.00 | 60.00 |     – |               – |
    """
    rows = [
        [
            alpha_name(_value(point, "alpha")),
            *("–" if math.isnan(v := _value(point, key)) else f"{v:.2f}" for key, *_ in _CURVES),
        ]
        for point in points
    ]
    headers = ["α", "PQ All", "In", "Out", "harmonic mean"]
    return tabulate(rows, headers, tablefmt="github", colalign=("right",) * 5, disable_numparse=True)


def plot_alpha_curve(
    path: str | os.PathLike,
    points: Sequence[Point],
    *,
    errors: Sequence[Point] | None = None,
    title: str = "WiSE-FT: from the zero-shot weights (α = 0) to the fine-tuned ones (α = 1)",
) -> None:
    """Write a PNG: on the left PQ over α, on the right Out over In with α written next to each point.

    Args:
        path: the file to write; missing folders are created.
        points: in any order; of several runs, their means.
        errors: half-lengths of the error bars, as points in the order of `points` (``alpha`` is not read), for example
            standard deviations over seeds.

    Raises:
        ValueError: `points` is empty, or `errors` has another length.
    """
    from matplotlib.figure import Figure  # without pyplot: no display and no global state

    if not points or (errors is not None and len(errors) != len(points)):
        raise ValueError(
            f"A curve needs at least one point and as many errors as points: got {len(points)} and {len(errors or ())}."
        )
    order = sorted(range(len(points)), key=lambda k: _value(points[k], "alpha"))
    alphas = np.array([_value(points[k], "alpha") for k in order])
    curves = {key: np.array([_value(points[k], key) for k in order]) for key, *_ in _CURVES}
    bars = {key: None if errors is None else np.array([_value(errors[k], key) for k in order]) for key, *_ in _CURVES}

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle(title, fontsize=12)
    _plot_over_alpha(left, alphas, curves, bars)
    figure.legend(loc="outside lower center", ncols=len(_CURVES), frameon=False)
    shown = _plot_out_over_in(right, alphas, curves, bars)
    figure.colorbar(shown, ax=right, label="α: 0 zero shot, 1 fine-tuned")
    for axes in (left, right):
        axes.grid(True, color="#dddddd", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    _label_points(figure, right, curves["pq_in"], curves["pq_out"], [alpha_name(alpha) for alpha in alphas])
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _plot_over_alpha(
    axes: Axes, alphas: np.ndarray, curves: Mapping[str, np.ndarray], bars: Mapping[str, np.ndarray | None]
) -> None:
    for key, label, color, marker, line in _CURVES:
        axes.errorbar(
            alphas,
            curves[key],
            yerr=bars[key],
            label=label,
            color=color,
            marker=marker,
            linestyle=line,
            markersize=6,
            capsize=3,
        )
    axes.set(xlabel="α", ylabel="PQ (%)", xlim=(-0.04, 1.04))
    axes.set_ylim(bottom=-2)


def _plot_out_over_in(
    axes: Axes, alphas: np.ndarray, curves: Mapping[str, np.ndarray], bars: Mapping[str, np.ndarray | None]
):
    x, y = curves["pq_in"], curves["pq_out"]
    axes.errorbar(x, y, xerr=bars["pq_in"], yerr=bars["pq_out"], color="#999999", elinewidth=1, capsize=2, zorder=1)
    shown = axes.scatter(x, y, c=alphas, cmap="cividis", vmin=0, vmax=1, s=50, edgecolors="black", zorder=2)
    axes.set(xlabel="PQ In (%)", ylabel="PQ Out (%)")
    axes.margins(0.12)
    return shown


def _label_points(figure: Figure, axes: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> None:
    """Write a name next to each point, away from other names and points: with Out = 0 many points lie in one row."""
    figure.draw_without_rendering()  # fixes the positions of the points
    places = axes.transData.transform(np.column_stack((x, y))) * 72 / figure.dpi
    finite = [k for k in range(len(names)) if np.isfinite(places[k]).all()]
    taken = [(*(places[k] - 5), *(places[k] + 5)) for k in finite]
    for k in finite:
        width, height = 5.5 * len(names[k]), 9
        for dx, dy in _OFFSETS:
            low = places[k] + (dx - width / 2, dy - height / 2)
            box = (*low, low[0] + width, low[1] + height)
            if not any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken):
                break
        taken.append(box)
        axes.annotate(
            names[k],
            (x[k], y[k]),
            xytext=(dx, dy),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
        )


def _value(point: Point, key: str) -> float:
    value = point.get(key)
    return math.nan if value is None else float(value)
