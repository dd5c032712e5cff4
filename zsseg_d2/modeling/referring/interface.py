"""What the phrase segmentation model expects of a decoder, and what decoders share. Subclass it to write your own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from detectron2.config import CfgNode
from torch import Tensor, nn

from ..clip.frozen import FrozenCLIP


class ReferringDecoder(nn.Module):
    """Turns features of a frozen CLIP and embeddings of prompts into masks. It is the part that is trained."""

    @classmethod
    def from_config(cls, cfg: CfgNode) -> tuple[FrozenCLIP, ReferringDecoder]:
        """Build the frozen CLIP as this decoder reads it, and the decoder.

        Raises:
            ValueError: If the parts do not fit each other or the images; the message names the key.
        """
        raise NotImplementedError

    def masks(
        self, clip: Any, images: Tensor, features: list[Tensor], condition: Tensor, owner: Tensor | None
    ) -> Tensor:
        """Decode masks at the size of the images.

        Args:
            clip: the CLIP of :meth:`from_config`.
            images: (B, 3, H, W) normalised.
            features: what ``clip`` computed from them.
            condition: (N, E) one prompt per mask.
            owner: (N,) int64, the image of each prompt; None: prompt i belongs to image i.

        Returns:
            (N, H, W) mask logits.
        """
        raise NotImplementedError


@contextmanager
def naming(*keys: str) -> Iterator[None]:
    """Add config keys to the message of a ValueError that names none."""
    try:
        yield
    except ValueError as error:
        if "MODEL." in str(error):
            raise
        raise ValueError(f"{error} See {' and '.join(keys)}.") from error


def check_image_size(cfg: CfgNode, cell: int) -> None:
    """Check that images divide into CLIP's cells of ``cell`` pixels.

    Raises:
        ValueError: If they do not.
    """
    size = cfg.INPUT.PHRASE.SIZE
    if size % cell:
        raise ValueError(
            f"INPUT.PHRASE.SIZE={size}: not a multiple of {cell}, the pixels of a cell of this CLIP. "
            f"Fix: {size // cell * cell or cell} or {(size // cell + 1) * cell}."
        )


def check_prompts(condition: Tensor, images: int, owner: Tensor | None) -> None:
    """Check that there is a prompt per image, or an owner per prompt.

    Raises:
        ValueError: If there is not.
    """
    if owner is None and len(condition) != images:
        raise ValueError(f"{len(condition)} prompts for {images} images, and no owner is given.")


def select_owner(x: Tensor, owner: Tensor | None) -> Tensor:
    """Repeat (B, …) of images for their prompts: (N, …)."""
    return x if owner is None else x[owner]


def spread_layers(blocks: int, count: int) -> Sequence[int]:
    """Choose ``count`` of a ViT's blocks, evenly spread, the last among them.

    Example:
        >>> spread_layers(12, 3)
        [3, 7, 11]
    """
    return [blocks * (k + 1) // count - 1 for k in range(count)]
