"""Plots of suites about phrases: losses over the iterations, and mean IoU by decoder and loss."""

from __future__ import annotations

from pathlib import Path

from .measures import Measure
from .plots import GREY, look, new_figure, save
from .results import Results, Row, mean_curve

_LOSS = "MODEL.REFERRING.LOSS"


def loss_of(row: Row) -> str:
    """Of a run's options; "": its config's."""
    return dict(row.run.options).get(_LOSS, "")


def decoder_of(row: Row) -> str:
    """The label without its second part, which is the loss: "U-Net, longer" of "U-Net, Dice, longer"."""
    parts = [part.strip() for part in row.run.label.split(",")]
    return ", ".join([parts[0], *parts[2:]])


def loss_curves(results: Results, loss: Measure, path: Path) -> Path | None:
    """Draw a panel for each loss (their values cannot be compared), a line for each decoder: mean over seeds."""
    found: dict[str, list[tuple[str, list]]] = {}
    for row in results.table():
        curves = [dict(s.history[loss.key]) for s in row.there if loss.key in s.history]
        if curves:
            found.setdefault(loss_of(row), []).append((decoder_of(row), mean_curve(curves)))
    if not found:
        return None
    decoders = list(dict.fromkeys(decoder_of(row) for row in results.table()))
    figure, axes = new_figure(3.4 * len(found) + 1.5, 3.6, columns=len(found))
    for ax, (name, lines) in zip(axes, found.items()):
        for decoder, curve in lines:
            style = look(decoders.index(decoder))
            ax.plot(curve.index, curve["mean"], color=style.colour, linestyle=style.line, label=decoder)
        ax.set(
            title=name or "loss", xlabel="iteration", ylabel="training loss" if ax is axes[0] else "", xlim=(0, None)
        )
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return save(figure, path)


def bars(results: Results, measure: Measure, path: Path) -> Path | None:
    """Draw a group for each decoder, a bar for each loss; error bars of one deviation."""
    rows = [row for row in results.table() if row.mean(measure.key) is not None]
    if not rows:
        return None
    decoders = list(dict.fromkeys(map(decoder_of, rows)))
    losses = list(dict.fromkeys(map(loss_of, rows)))
    figure, (ax,) = new_figure(max(6.5, 1.7 * len(decoders)), 4.2)
    width = 0.84 / len(losses)
    for row in rows:
        k = losses.index(loss_of(row))
        x = decoders.index(decoder_of(row)) + (k - (len(losses) - 1) / 2) * width
        label = losses[k] or None
        known = label in ax.get_legend_handles_labels()[1]
        ax.bar(x, row.mean(measure.key), width * 0.92, color=look(k).colour, label=None if known else label)
        ax.text(
            x, row.mean(measure.key), f"{row.mean(measure.key):.0f}", ha="center", va="bottom", fontsize=8, color=GREY
        )
        if row.std(measure.key) is not None:
            ax.errorbar(x, row.mean(measure.key), row.std(measure.key), fmt="none", ecolor="#333333", elinewidth=0.8)
    ax.set_xticks(range(len(decoders)), decoders)
    ax.set(ylabel=f"{measure.label} (percent)", ylim=(0, None))
    ax.grid(axis="x", visible=False)
    if losses != [""]:
        figure.legend(loc="outside upper center", ncols=len(losses), frameon=False, fontsize=9)
    return save(figure, path)
