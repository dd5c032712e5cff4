"""Plot the two distributions of grey-level differences, and their means over distance."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...files import atomic_path
from .pixel_pairs import PixelPairs

# key, label, colour (Okabe and Ito's palette), line
_POPULATIONS = (("within", "within one object", "#0072B2", "-"), ("across", "across objects", "#D55E00", "--"))


def plot_comparison(path: str | os.PathLike, pairs: Mapping[str, Sequence[PixelPairs]], title: str) -> None:
    """Write a PNG: both distributions in each version with their means, and the mean difference over distance.

    Args:
        path: the file to write; missing folders are created.
        pairs: the pairs of each image, at least one, by version ("matched", "unmatched"); the last plot shows the first
            version.
        title: of the figure.
    """
    from matplotlib.figure import Figure  # without pyplot: no display and no global state

    figure = Figure(figsize=(5 * (len(pairs) + 1), 4.2), layout="constrained")
    *left, right = figure.subplots(1, len(pairs) + 1)
    figure.suptitle(title, fontsize=12)
    bins = np.arange(0, 257, 4)
    for axes, (version, images) in zip(left, pairs.items()):
        for key, label, color, line in _POPULATIONS:
            values = _all(images, key)
            axes.hist(
                values, bins, density=True, histtype="step", color=color, linestyle=line, linewidth=1.6, label=label
            )
            axes.axvline(values.mean(), color=color, linestyle=":", linewidth=1)
        axes.set(title=f"{version} distances", xlabel="|difference of grey levels|", ylabel="share of pairs per level")
        axes.set_yscale("log")
    version, images = next(iter(pairs.items()))
    for key, label, color, line in _POPULATIONS:
        x, y = _means_over_distance(_all(images, f"{key}_distance"), _all(images, key))
        right.plot(x, y, color=color, linestyle=line, marker="o", markersize=4, label=label)
    right.set(title=f"{version}: over distance", xlabel="distance (pixels)", ylabel="mean |difference|")
    right.set_ylim(bottom=0)
    for axes in (*left, right):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _all(images: Sequence[PixelPairs], key: str) -> np.ndarray:
    return np.concatenate([getattr(image, key) for image in images])


def _means_over_distance(distance: np.ndarray, values: np.ndarray, bins: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Average both over bins of about equally many pairs."""
    edges = np.unique(np.quantile(distance, np.linspace(0, 1, bins + 1)))
    place = np.searchsorted(edges[1:-1], distance, side="right")
    counts = np.bincount(place)
    some = counts > 0
    x, y = (np.bincount(place, weights=w)[some] / counts[some] for w in (distance, values))
    return x, y
