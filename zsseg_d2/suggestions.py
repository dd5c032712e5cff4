"""Suggestions for names that were mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(wanted: str, known: Iterable[str], count: int = 3) -> str:
    """Suggest names close to an unknown one.

    Returns:
        ``" Did you mean a or b?"``, or an empty string if nothing is close.

    Example:
        >>> did_you_mean("traffic lihgt", ["traffic light", "road"])
        ' Did you mean traffic light?'
    """
    by_fold = {k.lower(): k for k in known}
    close = difflib.get_close_matches(wanted.lower(), by_fold, n=count, cutoff=0.6)
    return f" Did you mean {' or '.join(by_fold[c] for c in close)}?" if close else ""
