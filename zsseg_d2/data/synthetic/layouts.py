"""Layout names to the functions that paint them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .canvas import Stage
from .outdoors import PLACES, open_place, studio
from .street import street

LAYOUTS: dict[str, Callable[[Stage, int], None]] = {
    "street": street,
    "studio": studio,
    **{name: partial(open_place, name=name) for name in PLACES},
}
