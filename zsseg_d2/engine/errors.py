"""Errors that the user can fix: programs print their message alone, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """A config file, key or value that does not work; the message names it and the remedy."""


class CheckpointError(RuntimeError):
    """Weights that are missing or unreadable, or do not fit the model; the message names the remedy."""


def did_you_mean(wanted: str, known: Iterable[str], count: int = 3) -> str:
    """Return ``" Did you mean a or b?"``, or an empty string if no known word is close."""
    by_fold = {k.lower(): k for k in known}
    close = difflib.get_close_matches(wanted.lower(), by_fold, n=count, cutoff=0.6)
    return f" Did you mean {' or '.join(by_fold[c] for c in close)}?" if close else ""
