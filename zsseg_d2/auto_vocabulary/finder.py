"""From an image to its words: cells → clusters → captions → words."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .captioner import Captioner
from .cells import encoding_size
from .clusters import Clusters, ClusterSettings, find_clusters
from .word_lists import WordLists, read_word_lists
from .words import Word, WordSettings, find_words


@dataclass(frozen=True, eq=False)
class ImageWords:
    """The words of an image, and how they were found.

    Attributes:
        words: the surest first; empty if no caption names anything.
        clusters: of the image.
        captions: [cluster] its captions.
    """

    words: tuple[Word, ...]
    clusters: Clusters
    captions: tuple[tuple[str, ...], ...]


class WordFinder:
    """Finds the words of images, one by one (AutoSeg, arXiv 2312.04539).

    The words of an image depend on the image and on the settings alone.

    Args:
        captioner: encodes images and describes cells.
        clusters: constants of clustering.
        words: which words are kept.
        passes: captions per cluster.
        lists: word lists; None: the packaged ones.
    """

    def __init__(
        self,
        captioner: Captioner,
        clusters: ClusterSettings | None = None,
        words: WordSettings | None = None,
        *,
        passes: int = 5,
        lists: WordLists | None = None,
    ) -> None:
        self.captioner = captioner
        self.cluster_settings = clusters or ClusterSettings()
        self.word_settings = words or WordSettings()
        self.passes = passes
        self.lists = lists or read_word_lists()

    def __call__(self, image: Tensor) -> ImageWords:
        """Find the words of an image.

        Args:
            image: (3, H, W) uint8 RGB.
        """
        settings, patch = self.cluster_settings, self.captioner.patch
        height, width = image.shape[-2:]
        sizes = [encoding_size(height, width, side, patch, square=settings.square) for side in sorted(settings.sizes)]
        scales = [self.captioner.encode(image, size) for size in sizes]
        clusters = find_clusters([cells.float().cpu().numpy() for cells in scales], settings)
        captions = self._captions(scales[-1], clusters)
        words = find_words(captions, clusters, self.lists, self.word_settings)
        return ImageWords(words, clusters, captions)

    def _captions(self, cells: Tensor, clusters: Clusters) -> tuple[tuple[str, ...], ...]:
        """Describe each cluster from its own cells, in ``passes`` texts."""
        seeds = [self.cluster_settings.seed + number for number in range(self.passes)]
        flat, owner = cells.flatten(0, 1), clusters.labels.ravel()
        return tuple(
            tuple(self.captioner.caption(flat[(owner == k).nonzero()[0]], seeds)) for k in range(len(clusters))
        )
