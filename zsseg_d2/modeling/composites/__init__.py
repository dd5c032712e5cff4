"""Mask and depth of a composite: networks, structural similarity, losses."""

from . import eva, unet

__all__ = ["eva", "unet"]  # imported because they register themselves
