"""What the head returns for a batch in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ImageQueries:
    """Queries of one image after the last layer.

    Attributes:
        logits: (Q, K + 1), void last.
        mask_embed: (Q, C).
        mask_features: (C, h, w).
    """

    logits: Tensor
    mask_embed: Tensor
    mask_features: Tensor


@dataclass(frozen=True)
class DecoderOutput:
    """Output of the head for a batch in training.

    Attributes:
        logits: [layer] (B, Q, K + 1) of all names and void; a list of (Q, K + 1) where images differ in their names.
        mask_embed: [layer] (B, Q, C).
        mask_features: [image] (C, h, w) of the image's own part.
    """

    logits: Sequence[Tensor | list[Tensor]]
    mask_embed: list[Tensor]
    mask_features: list[Tensor]

    def images(self) -> Iterator[ImageQueries]:
        """Yield the queries of each image after the last layer."""
        for of_image in zip(self.logits[-1], self.mask_embed[-1], self.mask_features):
            yield ImageQueries(*of_image)
