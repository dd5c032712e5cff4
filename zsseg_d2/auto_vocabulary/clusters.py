"""Clusters of an image: several clusterings of its cells, which vote (AutoSeg, arXiv 2312.04539, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .alignment import align, reference_of, resize_labels, votes
from .cells import with_positions
from .crf import majority, mean_field
from .kmeans import kmeans


@dataclass(frozen=True)
class ClusterSettings:
    """The constants of clustering; the defaults are the paper's (MODEL.AUTO_VOCABULARY).

    Attributes:
        sizes: sides at which the image is encoded, in pixels.
        square: squeeze the image into a square; False: `sizes` are the short side.
        counts: numbers of clusters; each is tried at each size.
        position_width: numbers of the position code.
        position_weight: of the position code; 0: none.
        restarts, iterations, tolerance: see :func:`zsseg_d2.auto_vocabulary.kmeans.kmeans`.
        vote_floor, crf_taps, crf_iterations, crf_weight, crf_theta: see
            :func:`zsseg_d2.auto_vocabulary.crf.mean_field`.
        majority_rounds: see :func:`zsseg_d2.auto_vocabulary.crf.majority`.
        seed: of everything that is drawn.
    """

    sizes: tuple[int, ...] = (384, 512)
    square: bool = True
    counts: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    position_width: int = 256
    position_weight: float = 1.0
    restarts: int = 8
    iterations: int = 100
    tolerance: float = 1e-4
    vote_floor: float = 1e-6
    crf_taps: int = 11
    crf_iterations: int = 5
    crf_weight: float = 6.0
    crf_theta: float = 0.8
    majority_rounds: int = 8
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters of an image, the largest first.

    Attributes:
        labels: (h, w) int64 in [0, N); every cluster has cells.
        shares: (N,) share of the cells.
        agreement: (N,) mean share of the clusterings that put a cell of the cluster into it.
    """

    labels: np.ndarray
    shares: tuple[float, ...]
    agreement: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.shares)


def find_clusters(scales: Sequence[np.ndarray], settings: ClusterSettings) -> Clusters:
    """Cluster the cells of an image.

    Args:
        scales: embeddings (h, w, C) of the image at one size each; the last has the finest grid.
        settings: see :class:`ClusterSettings`.

    Returns:
        Clusters on the grid of the last scale.
    """
    grid = scales[-1].shape[:2]
    clusterings = []
    for number, cells in list(enumerate(scales))[::-1]:  # the finest first: it is the reference where several could be
        points = with_positions(cells, settings.position_weight, settings.position_width)
        for k in sorted(settings.counts, reverse=True):
            labels = kmeans(
                points,
                k,
                (settings.seed, number, k),
                restarts=settings.restarts,
                iterations=settings.iterations,
                tolerance=settings.tolerance,
            )
            clusterings.append(resize_labels(labels.reshape(cells.shape[:2]), grid))
    return vote(clusterings, settings)


def vote(clusterings: Sequence[np.ndarray], settings: ClusterSettings) -> Clusters:
    """Join clusterings (h, w) of one grid: alignment, votes, mean field, majority."""
    reference = np.unique(clusterings[reference_of(clusterings)], return_inverse=True)[1].reshape(clusterings[0].shape)
    count = int(reference.max()) + 1
    found = votes([align(labels, reference, count) for labels in clusterings], count)
    smooth = mean_field(
        found,
        taps=settings.crf_taps,
        iterations=settings.crf_iterations,
        weight=settings.crf_weight,
        theta=settings.crf_theta,
        floor=settings.vote_floor,
    )
    return numbered(majority(smooth.argmax(-1), settings.majority_rounds), found)


def numbered(labels: np.ndarray, found: np.ndarray) -> Clusters:
    """Number the clusters that have cells by size, and measure them.

    Args:
        labels: (h, w) in [0, K).
        found: (h, w, K) votes.
    """
    sizes = np.bincount(labels.ravel(), minlength=found.shape[-1])
    order = [int(k) for k in np.argsort(-sizes, kind="stable") if sizes[k]]
    position = np.zeros(len(sizes), np.int64)
    position[order] = np.arange(len(order))
    agreement = tuple(float(found[labels == k, k].mean()) for k in order)
    return Clusters(position[labels], tuple(float(sizes[k] / labels.size) for k in order), agreement)
