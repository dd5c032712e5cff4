"""Messages of msgspec, in the words of this package."""

from __future__ import annotations

import re

import msgspec

_PLACE = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.+)`")


def explain(error: msgspec.ValidationError) -> tuple[str, str]:
    """Split an error into the place of the fault and the problem.

    Args:
        error: raised when JSON does not have the expected types.

    Returns:
        The place, such as ``"annotations[1].file_name"``, "" for the whole content; and the problem, such as
        ``"is missing"`` or ``"is of the wrong type (expected int, got str)"``.
    """
    match = _PLACE.fullmatch(str(error))
    assert match is not None  # the expression matches any text
    problem, place = match[1], match[2] or ""
    missing = _MISSING.fullmatch(problem)
    if missing:
        return f"{place}.{missing[1]}".lstrip("."), "is missing"
    return place, f"is of the wrong type ({problem[:1].lower()}{problem[1:].replace('`', '')})"
