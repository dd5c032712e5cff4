"""Plots of a suite, drawn from its rows: means over seeds, with one standard deviation."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..evaluation.panoptic.alpha_curve import plot_alpha_curve
from ..files import atomic_path
from .measures import ALL, HARMONIC, IN, LOSS, MEAN_IOU, OUT, Measure
from .remarks import IN_LOST, TARGET
from .results import Results, Row, mean_curve

# Okabe and Ito's colours without yellow, which is too light for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
LINES = ("-", "--", ":", "-.")
GREY, LIGHT_GREY, DARK_GREY = "#666666", "#DDDDDD", "#333333"
_DPI = 150
_MOST_BANDS = 6


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw all plots of the suite's task that the results are enough for; returns their files."""
    files = {"panoptic": _panoptic, "referring": _referring}[results.task.name](results, folder)
    return [path for path in files if path is not None]


def _panoptic(results: Results, folder: Path) -> list[Path | None]:
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


def _referring(results: Results, folder: Path) -> list[Path | None]:
    best = results.best(MEAN_IOU.key)
    return [
        decoder_bars(results, MEAN_IOU, folder / "mean_iou.png"),
        loss_curves(results, LOSS, folder / "losses.png"),
        over_iterations(results, (MEAN_IOU,), "percent", folder / "iterations.png"),
        *(copy_sample(best, folder / name) for name in ("strip.png", "samples.gif")),
    ]


class Look(NamedTuple):
    """How one run is drawn, in every plot."""

    color: str
    marker: str
    line: str


def look(index: int) -> Look:
    """Return how the run at place `index` is drawn; 70 differ."""
    return Look(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], LINES[index // len(COLOURS) % len(LINES)])


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


def over_iterations(results: Results, measures: Sequence[Measure], unit: str, path: Path) -> Path | None:
    """Draw a panel for each measure, with a line for each training with at least two evaluations.

    Bands of one deviation, where the lines are few enough.
    """
    rows = [(k, row) for k, row in enumerate(results.table()) if len(row.history(measures[0])) > 1]
    if not rows:
        return None
    figure, axes = new_figure(4 * len(measures) + 3, 4.2, columns=len(measures))
    reference = results.row(role="zero_shot")
    for ax, measure in zip(axes, measures):
        for k, row in rows:
            style, curve = look(k), row.history(measure)
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
            xerr=_known(row.std("in")),
            yerr=_known(row.std("out")),
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


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


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


def loss_of(row: Row) -> str:
    """Return the loss in a run's options; "": its config's."""
    return dict(row.run.options).get("MODEL.REFERRING.LOSS", "")


def decoder_of(row: Row) -> str:
    """Return the label without its second part, which is the loss: "U-Net, longer" of "U-Net, Dice, longer"."""
    first, *rest = [part.strip() for part in row.run.label.split(",")]
    return ", ".join([first, *rest[1:]])


def loss_curves(results: Results, loss: Measure, path: Path) -> Path | None:
    """Draw a panel for each loss (their values cannot be compared), a line for each decoder."""
    rows = [row for row in results.table() if not row.history(loss).empty]
    if not rows:
        return None
    decoders = list(dict.fromkeys(decoder_of(row) for row in results.table()))
    losses = list(dict.fromkeys(map(loss_of, rows)))
    figure, axes = new_figure(3.4 * len(losses) + 1.5, 3.6, columns=len(losses))
    for row in rows:
        style, curve = look(decoders.index(decoder_of(row))), row.history(loss)
        ax = axes[losses.index(loss_of(row))]
        ax.plot(curve.index, curve["mean"], color=style.color, linestyle=style.line, label=decoder_of(row))
    for ax, name in zip(axes, losses):
        ylabel = "training loss" if ax is axes[0] else ""
        ax.set(title=name or "loss", xlabel="iteration", ylabel=ylabel, xlim=(0, None))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return save(figure, path)


def decoder_bars(results: Results, measure: Measure, path: Path) -> Path | None:
    """Draw a group for each decoder, a bar for each loss; error bars of one deviation."""
    rows = [row for row in results.table() if row.has(measure.key)]
    if not rows:
        return None
    decoders = list(dict.fromkeys(map(decoder_of, rows)))
    losses = list(dict.fromkeys(map(loss_of, rows)))
    figure, (ax,) = new_figure(max(6.5, 1.7 * len(decoders)), 4.2)
    width = 0.84 / len(losses)
    for row in rows:
        k, mean, std = losses.index(loss_of(row)), row.mean(measure.key), row.std(measure.key)
        x = decoders.index(decoder_of(row)) + (k - (len(losses) - 1) / 2) * width
        known = losses[k] in ax.get_legend_handles_labels()[1]
        ax.bar(x, mean, width * 0.92, color=look(k).color, label=None if known else losses[k] or None)
        ax.text(x, mean, f"{mean:.0f}", ha="center", va="bottom", fontsize=8, color=GREY)
        if _known(std) is not None:
            ax.errorbar(x, mean, std, fmt="none", ecolor=DARK_GREY, elinewidth=0.8)
    ax.set_xticks(range(len(decoders)), decoders)
    ax.set(ylabel=f"{measure.label} (percent)", ylim=(0, None))
    ax.grid(axis="x", visible=False)
    if losses != [""]:
        figure.legend(loc="outside upper center", ncols=len(losses), frameon=False, fontsize=9)
    return save(figure, path)


def copy_sample(row: Row | None, path: Path) -> Path | None:
    """Copy an image from the samples of a row's first seed."""
    folder = row.there[0].folder if row is not None else None
    if folder is None or not (folder / "samples" / path.name).is_file():
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        shutil.copyfile(folder / "samples" / path.name, temporary)
    return path
