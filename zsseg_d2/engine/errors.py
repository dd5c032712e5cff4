"""Errors that the user can fix: programs print their message alone, without a traceback."""

from __future__ import annotations

from ..registry import did_you_mean

__all__ = ["CheckpointError", "ConfigError", "did_you_mean"]


class ConfigError(ValueError):
    """A config file, key or value that does not work; the message names it and the remedy."""


class CheckpointError(RuntimeError):
    """Weights that are missing or unreadable, or do not fit the model; the message names the remedy."""
