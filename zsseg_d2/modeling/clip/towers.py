"""Families of CLIP's convolutional image towers behind one interface, and the registry of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..padding import Padding
from ..registries import CLIP_TOWER_REGISTRY

STAGES = ("res2", "res3", "res4", "res5")
STRIDES = (4, 8, 16, 32)


class CLIPTower:
    """Reads feature maps and embeddings from ``clip_model.visual`` of open_clip. Built as ``cls(visual)``.

    A tower is not a module: it holds no parameters of its own, so checkpoints keep open_clip's names.

    Args:
        visual: the image tower of an open_clip model.

    Attributes:
        widths: channels of the four stages, finest first.
        embed_dim: width E of the embedding.
    """

    widths: tuple[int, ...]
    embed_dim: int

    def __init__(self, visual: nn.Module) -> None:
        self.visual: Any = visual  # open_clip's towers have no common type

    @classmethod
    def fits(cls, visual: nn.Module) -> bool:
        """Return whether ``visual`` is of this family."""
        raise NotImplementedError

    def dense_features(self, images: Tensor) -> dict[str, Tensor]:
        """Compute feature maps.

        Args:
            images: (B, 3, H, W) normalised; H and W multiples of 32.

        Returns:
            "res2" … "res5" at strides 4 to 32, and "clip_vis_dense", the stride-32 map that :meth:`region_embeddings`
            pools.
        """
        raise NotImplementedError

    def padded_features(self, images: Tensor, padding: Padding) -> dict[str, Tensor]:
        """Compute feature maps of images of several sizes: in each, what :meth:`dense_features` gives for it alone.

        This is the plain form, a pass for each size; a tower that masks the padding needs one.

        Args:
            images: (B, 3, H, W) normalised, 0 outside the images.
            padding: which part of them is image; sizes are multiples of 32.

        Returns:
            As :meth:`dense_features`; what lies outside the images has no meaning.
        """
        groups = padding.same_size()
        found = [self.dense_features(padding.part(images, group)) for group in groups]
        return {name: padding.join_groups(groups, [features[name] for features in found]) for name in found[0]}

    def region_embeddings(self, dense: Tensor, inside: Tensor) -> Tensor:
        """Compute CLIP embeddings of regions.

        Args:
            dense: (B, C, h, w) ``clip_vis_dense``.
            inside: (B, Q, h, w) bool.

        Returns:
            (B, Q, E), not normalised; finite but meaningless for empty regions.
        """
        raise NotImplementedError

    def embed_images(self, images: Tensor) -> Tensor:
        """Compute CLIP's embeddings (B, E) of whole images (B, 3, H, W), not normalised; H and W multiples of 32."""
        return self.visual(images)


def find_tower(visual: nn.Module) -> CLIPTower:
    """Wrap an image tower with the registered family that fits it; the last registered comes first.

    Raises:
        ValueError: If none fits.
    """
    for _, family in reversed(list(CLIP_TOWER_REGISTRY)):
        if family.fits(visual):
            return family(visual)
    names = ", ".join(CLIP_TOWER_REGISTRY.names())
    kind = type(getattr(visual, "trunk", visual)).__name__
    raise ValueError(
        f"No convolutional CLIP tower: the image tower {kind} fits none of {names}. "
        "Fix: choose a CLIP with a ResNet or ConvNeXt, or register a CLIPTower."
    )
