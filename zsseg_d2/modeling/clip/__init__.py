"""CLIP as segmentation uses it: frozen towers, their families, text rows and weights."""

from . import convnext, resnet

__all__ = ["convnext", "resnet"]  # imported because they register themselves
