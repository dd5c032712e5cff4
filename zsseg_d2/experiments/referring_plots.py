"""Plots of suites about phrases: mean IoU by decoder and loss, losses over the iterations, and samples."""

from __future__ import annotations

import shutil
from pathlib import Path

from matplotlib.patches import Patch

from ..files import atomic_path
from .measures import LOSS, MEAN_IOU, Measure
from .plots import DARK_GREY, GREY, LINES, Look, known, look, new_figure, over_iterations, save
from .results import Results, Row


def draw(results: Results, folder: Path) -> list[Path | None]:
    """Draw all plots of a suite about phrases; None where the results are not enough for one."""
    best = results.best(MEAN_IOU.key)
    return [
        decoder_bars(results, MEAN_IOU, folder / "mean_iou.png"),
        loss_curves(results, LOSS, folder / "losses.png"),
        over_iterations(results, (MEAN_IOU,), "percent", folder / "iterations.png", looks(results)),
        *(copy_sample(best, folder / name) for name in ("strip.png", "samples.gif")),
    ]


def loss_of(row: Row) -> str:
    """Return the loss in a run's options; "": its config's."""
    return dict(row.run.options).get("MODEL.REFERRING.LOSS", "")


def decoder_of(row: Row) -> str:
    """Return the label without its second part, which is the loss: "U-Net, longer" of "U-Net, Dice, longer"."""
    first, *rest = [part.strip() for part in row.run.label.split(",")]
    return ", ".join([first, *rest[1:]])


def looks(results: Results) -> dict[str, Look]:
    """Return how each run is drawn, by its name, in every plot: decoders by color and marker, losses by line."""
    rows = [row for row in results.rows if row.run.has_row]
    decoders, losses = (list(dict.fromkeys(map(of, rows))) for of in (decoder_of, loss_of))
    found = {}
    for row in rows:
        color, marker, _ = look(decoders.index(decoder_of(row)))
        line = LINES[losses.index(loss_of(row)) % len(LINES)]
        found[row.run.name] = Look(color, marker, line)
    return found


def loss_curves(results: Results, loss: Measure, path: Path) -> Path | None:
    """Draw a panel for each loss (their values cannot be compared), a line for each decoder."""
    rows = [row for row in results.table() if not row.history(loss).empty]
    if not rows:
        return None
    drawn, losses = looks(results), list(dict.fromkeys(map(loss_of, rows)))
    figure, axes = new_figure(3.4 * len(losses) + 1.5, 3.6, columns=len(losses))
    for row in rows:
        style, curve = drawn[row.run.name], row.history(loss)
        ax = axes[losses.index(loss_of(row))]
        ax.plot(curve.index, curve["mean"], color=style.color, label=decoder_of(row))
    for ax, name in zip(axes, losses):
        ylabel = "training loss" if ax is axes[0] else ""
        ax.set(title=name or "loss", xlabel="iteration", ylabel=ylabel, xlim=(0, None))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return save(figure, path)


def decoder_bars(results: Results, measure: Measure, path: Path) -> Path | None:
    """Draw a group for each decoder, a bar for each loss, told apart by hatches; error bars of one deviation."""
    rows = [row for row in results.table() if row.has(measure.key)]
    if not rows:
        return None
    decoders = list(dict.fromkeys(map(decoder_of, rows)))
    losses = list(dict.fromkeys(map(loss_of, rows)))
    figure, (ax,) = new_figure(max(6.5, 1.7 * len(decoders)), 4.2)
    width, drawn = 0.84 / len(losses), looks(results)
    for row in rows:
        k, mean, std = losses.index(loss_of(row)), row.mean(measure.key), row.std(measure.key)
        x = decoders.index(decoder_of(row)) + (k - (len(losses) - 1) / 2) * width
        style = drawn[row.run.name]
        ax.bar(x, mean, width * 0.92, color=style.color, hatch=style.hatch, edgecolor="white", linewidth=0)
        ax.text(x, mean, f"{mean:.0f}", ha="center", va="bottom", fontsize=8, color=GREY)
        if known(std) is not None:
            ax.errorbar(x, mean, std, fmt="none", ecolor=DARK_GREY, elinewidth=0.8)
    ax.set_xticks(range(len(decoders)), decoders)
    ax.set(ylabel=f"{measure.label} (percent)", ylim=(0, None))
    ax.grid(axis="x", visible=False)
    if losses != [""]:
        hatches = [drawn[next(row for row in rows if loss_of(row) == loss).run.name].hatch for loss in losses]
        handles = [Patch(facecolor=GREY, edgecolor="white", linewidth=0, hatch=hatch) for hatch in hatches]
        figure.legend(handles, losses, loc="outside upper center", ncols=len(losses), frameon=False, fontsize=9)
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
