"""Plots of panoptic suites: class by class, In against Out between the corners, and the curve of WiSE-FT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import textalloc
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from ..evaluation.panoptic.alpha_curve import plot_alpha_curve
from .measures import ALL, HARMONIC, IN, OUT, Measure
from .plots import COLOURS, DARK_GREY, GREY, LIGHT_GREY, Look, known, look, looks, new_figure, over_iterations, save
from .results import Results, Row, mean_curve

Line = tuple[list[float], list[float]]
"""x and y of both ends."""

GROUPS = {
    "references": Look("#000000", "o", "-"),
    "one model's parameters": Look(COLOURS[0], "s", "-"),
    "more parameters": Look(COLOURS[1], "^", "-"),
}
"""How the groups of the In-Out plot are drawn; references are hollow."""


def draw(results: Results, folder: Path) -> list[Path | None]:
    """Draw all plots of a panoptic suite; None where the results are not enough for one.

    Of a suite with lines over the number of deleted classes, only these are drawn: each of its rows has its own In and
    Out.
    """
    if any(row.run.series for row in results.table()):
        return [over_configurations(results, folder / "configurations.png")]
    if results.suite.compare:
        compared = [row for name in results.suite.compare for row in results.table() if row.run.name == name]
    else:
        corners = [results.row(role=role) for role in ("zero_shot", "lower_bound", "upper_bound")]
        compared = [row for row in (*corners, results.best("all")) if row is not None]
    drawn = looks(results)
    curves = [row for row in results.rows if row.run.curve and not row.run.of]
    return [
        over_iterations(results, (ALL, IN, OUT), "PQ", folder / "iterations.png", drawn),
        per_class(compared, "PQ", folder / "classes.png", drawn, where=" (validation)" if results.shown else ""),
        in_out_scatter(results, folder / "in_out.png"),
        forgetting(results, folder / "forgetting.png"),
        *(over_alpha(row, (ALL, IN, OUT, HARMONIC), folder / f"{row.run.name}.png") for row in curves),
    ]


def per_class(rows: Sequence[Row], key: str, path: Path, drawn: Mapping[str, Look], *, where: str = "") -> Path | None:
    """Draw bars of some runs, class by class, grouped; error bars of one deviation.

    Args:
        rows: `details["per_class"]` of their seeds is ``{class: {key: float, "group": str}}``.
        key: the figure of a class.
        path: the file to write.
        drawn: how each run is drawn, by its name.
        where: follows the key on its axis.
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
        ax.bar(
            x,
            middle,
            width * 0.92,
            color=drawn[row.run.name].color,
            hatch=drawn[row.run.name].hatch,
            edgecolor="white",
            linewidth=0,
            label=row.run.label,
        )
        if half.any():
            ax.errorbar(x, middle, half, fmt="none", ecolor=DARK_GREY, elinewidth=0.8)
    for group in groups:
        members = [i for i, name in enumerate(names) if classes[name]["group"] == group]
        middle_x = sum(members) / len(members)
        ax.text(middle_x, 1.01, group, transform=ax.get_xaxis_transform(), ha="center", weight="bold")
        if members[0]:
            ax.axvline(members[0] - 0.5, color=GREY, linewidth=1)
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    ax.set(ylabel=key + where, xlim=(-0.6, len(names) - 0.4), ylim=(0, min(100, ax.get_ylim()[1])))
    ax.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=min(len(rows), 4), frameon=False, fontsize=9)
    return save(figure, path)


def in_out_scatter(results: Results, path: Path) -> Path | None:
    """Draw every method as a labelled point, with error bars of one deviation and lines of equal PQ All.

    References, methods that test with the parameters of one model, and those with more have a color each. The area of
    the target is green where all three corners are known.
    """
    shown = results.shown
    rows = [row for row in results.table() if row.has(f"{shown}in", f"{shown}out")]
    if not rows:
        return None
    figure, (ax,) = new_figure(11, 8.4)
    ax.grid(visible=False)
    where = ", test set" if shown else ""
    ax.set(xlabel=f"PQ of In (classes with labels{where})", ylabel=f"PQ of Out (classes without{where})")
    for group, members in _groups(results, rows).items():
        style = GROUPS[group]
        for k, row in enumerate(members):
            ax.errorbar(
                row.mean(f"{shown}in"),
                row.mean(f"{shown}out"),
                xerr=known(row.std(f"{shown}in")),
                yerr=known(row.std(f"{shown}out")),
                fmt=style.marker,
                color=style.color,
                markerfacecolor="white" if row.run.role else style.color,
                markeredgewidth=1.6,
                markersize=7,
                ecolor=(style.color, 0.3),
                elinewidth=1,
                zorder=3,
                label=None if k else group,
            )
    (low_x, high_x), (low_y, high_y) = ax.get_xlim(), ax.get_ylim()
    pad_x, pad_y = 0.06 * (high_x - low_x), 0.06 * (high_y - low_y)
    ax.set(xlim=(low_x - pad_x, high_x + pad_x), ylim=(low_y - pad_y, high_y + pad_y))
    lines = _corner_lines(ax, results)
    # PQ All = share · In + (1 - share) · Out, by the classes that occur in the dataset of the points
    details = [s.further_details.get(shown, {}) if shown else s.details for s in rows[0].there]
    sizes: dict[str, int] = next((of_seed["sizes"] for of_seed in details if of_seed.get("sizes")), {})
    if sizes.get("in") and sizes.get("out"):
        share = sizes["in"] / (sizes["in"] + sizes["out"])
        lines += _lines_of_all(ax, share)
        _target_area(ax, results, share)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.draw_without_rendering()  # labels are placed on the final axes
    _label_points(ax, rows, (f"{shown}in", f"{shown}out"), lines)
    return save(figure, path)


def forgetting(results: Results, path: Path) -> Path | None:
    """Draw PQ of Out over PQ on the world of the pre-training: forgetting within the dataset and outside it.

    Dashed lines are zero shot's, which has forgotten nothing.
    """
    keys = "pretraining_all", f"{results.shown}out"
    rows = [row for row in results.table() if row.has(*keys)]
    if not rows:
        return None
    figure, (ax,) = new_figure(9, 6.6)
    ax.set(xlabel=f"PQ on {results.suite.pretraining}", ylabel="PQ of Out (classes without labels)")
    for group, members in _groups(results, rows).items():
        style = GROUPS[group]
        for k, row in enumerate(members):
            x, y = (row.mean(key) for key in keys)
            half_x, half_y = (known(row.std(key)) for key in keys)
            ax.errorbar(
                *(x, y, half_y, half_x, style.marker),
                color=style.color,
                markerfacecolor="white" if row.run.role else style.color,
                ecolor=(style.color, 0.3),
                label=None if k else group,
                zorder=3,
            )
    zero = results.row(role="zero_shot")
    if zero is not None and zero.has(*keys):
        dashed: dict[str, Any] = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (4, 3)), "zorder": 1}
        ax.axvline(zero.mean(keys[0]), **dashed, label="zero shot")
        ax.axhline(zero.mean(keys[1]), **dashed)
    ax.margins(0.08)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.draw_without_rendering()
    _label_points(ax, rows, keys, [])
    return save(figure, path)


def over_configurations(results: Results, path: Path) -> Path | None:
    """Draw PQ of All, In and Out over the number of deleted classes, a line for each `series` of the suite file."""
    points = [row for row in results.table() if row.run.series and row.has(f"{results.shown}all")]
    series = list(dict.fromkeys(row.run.series for row in points))
    if not series:
        return None
    figure, axes = new_figure(13, 4.6, columns=3)
    for ax, measure in zip(axes, (ALL, IN, OUT)):
        key = f"{results.shown}{measure.key}"
        for k, name in enumerate(series):
            rows = sorted((r for r in points if r.run.series == name and r.has(key)), key=lambda r: r.run.deleted or 0)
            style = look(k)
            ax.errorbar(
                [row.run.deleted or 0 for row in rows],
                [row.mean(key) for row in rows],
                [known(row.std(key)) or 0.0 for row in rows],
                color=style.color,
                marker=style.marker,
                linestyle=style.line,
                elinewidth=0.8,
                label=name,
                clip_on=False,  # markers at 0
                zorder=3,
            )
        ax.set(xlabel="deleted classes", ylabel=measure.label if measure is ALL else f"PQ of {measure.label}")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(series), 5), frameon=False, fontsize=9)
    return save(figure, path)


def _groups(results: Results, rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Sort rows into the groups that have a color each; groups without rows are left out."""
    found: dict[str, list[Row]] = {name: [] for name in GROUPS}
    references, one, more = found.values()
    for row in rows:
        (references if row.run.role else more if results.extra_parameters(row) else one).append(row)
    return {name: members for name, members in found.items() if members}


def _label_points(ax: Axes, rows: Sequence[Row], keys: tuple[str, str], lines: Sequence[Line]) -> None:
    """Write the label of each run beside its point, on no other label, point or line; `keys` are its x and y."""
    x, y = ([row.mean(key) for row in rows] for key in keys)
    for a, b, row in zip(x, y, rows):
        half_x, half_y = (known(row.std(key)) or 0.0 for key in keys)
        lines = [*lines, ([a - half_x, a + half_x], [b, b]), ([a, a], [b - half_y, b + half_y])]
    textalloc.allocate(
        ax,
        x,
        y,
        [row.run.label for row in rows],
        x_scatter=x,
        y_scatter=y,
        x_lines=[line[0] for line in lines],
        y_lines=[line[1] for line in lines],
        textsize=8,
        textcolor=DARK_GREY,
        linecolor=GREY,
        linewidth=0.5,
        min_distance=0.012,
        max_distance=0.6,
        margin=0.002,
        nbr_candidates=8000,
        avoid_label_lines_overlap=True,
        path_effects=[withStroke(linewidth=3, foreground="white")],
    )


def _corner_lines(ax: Axes, results: Results) -> list[Line]:
    """Draw dashed lines at Out of zero shot and In of the lower bound, which a method ought to keep and to reach."""
    style: dict[str, Any] = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (4, 3)), "zorder": 1}
    zero, lower = results.row(role="zero_shot"), results.row(role="lower_bound")
    found: list[Line] = []
    shown = results.shown
    if zero is not None and zero.has(f"{shown}out"):
        found.append((list(ax.get_xlim()), [zero.mean(f"{shown}out")] * 2))
    if lower is not None and lower.has(f"{shown}in"):
        found.append(([lower.mean(f"{shown}in")] * 2, list(ax.get_ylim())))
    for k, line in enumerate(found):
        ax.plot(*line, **style, label=None if k else "Out of zero shot, In of the lower bound")
    return found


def _lines_of_all(ax: Axes, share: float) -> list[Line]:
    """Draw lines of equal PQ All, with their values where they leave the axes on the right."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    lowest, highest = share * left + (1 - share) * bottom, share * right + (1 - share) * top
    step = next((s for s in (1, 2, 5, 10) if (highest - lowest) / s <= 10), 20)
    found: list[Line] = []
    for level in np.arange(np.ceil(lowest / step) * step, highest, step):
        ends = [(level - share * x) / (1 - share) for x in (left, right)]
        label = None if found else "equal PQ All"
        ax.plot([left, right], ends, color=LIGHT_GREY, linewidth=0.9, zorder=0, label=label)
        found.append(([left, right], ends))
        if bottom <= ends[1] <= top:
            style: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "color": GREY, "va": "center"}
            ax.annotate(f"All {level:.0f}", (right, ends[1]), xytext=(4, 0), annotation_clip=False, **style)
    ax.set(xlim=(left, right), ylim=(bottom, top))
    return found


def _target_area(ax: Axes, results: Results, share: float) -> None:
    upper, lower, zero = (results.row(role=role) for role in ("upper_bound", "lower_bound", "zero_shot"))
    if upper is None or lower is None or zero is None:
        return
    shown, target = results.shown, results.suite.target
    if not (upper.has(f"{shown}all") and lower.has(f"{shown}in") and zero.has(f"{shown}out")):
        return
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    x = np.linspace(max(lower.mean(f"{shown}in") - target.in_lost, left), right, 50)
    least_out = zero.mean(f"{shown}out") + target.out_gain
    floor = np.maximum((target.all_share * upper.mean(f"{shown}all") - share * x) / (1 - share), least_out)
    gain = f"Out ≥ zero shot + {target.out_gain:g}" if target.out_gain else "Out > zero shot"
    label = (
        f"target: All ≥ {100 * target.all_share:.0f} % of the upper bound,\n"
        f"In ≥ lower bound − {target.in_lost:g}, {gain}"
    )
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
