"""Decoders of phrase segmentation on a frozen CLIP, and their losses."""

from . import clipseg_decoder, unet_decoder

__all__ = ["clipseg_decoder", "unet_decoder"]  # imported because they register themselves
