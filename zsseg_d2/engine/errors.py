"""Errors that are the user's to mend: the program prints their message alone, without a traceback."""

from __future__ import annotations

from ..suggestions import did_you_mean

__all__ = ["CheckpointError", "ConfigError", "did_you_mean"]


class ConfigError(ValueError):
    """A config file, key or value that cannot work; the message names it and the remedy."""


class CheckpointError(RuntimeError):
    """Weights that are missing, unreadable, or do not fit the model; the message names the remedy."""
