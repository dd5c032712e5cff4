"""Registered meta-architectures, one a file."""

from .fcclip import FCCLIP

__all__ = ["FCCLIP"]
