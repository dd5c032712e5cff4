"""The seam between the plain form of a function and a faster one.

The plain form is the one to read: it is short and follows the paper. The fast form gives the same result sooner, lives
in a file that says so (``…_cpu.py``, ``…_blocks.py``) and is tested against the plain one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

_enabled = True


def always(*args: Any, **kwargs: Any) -> bool:
    """Return True whatever the arguments."""
    return True


def fast_form(fast: Callable[..., Any], when: Callable[..., bool] = always) -> Callable[[Function], Function]:
    """Decorate a plain form: calls go to ``fast`` where ``when`` holds for their arguments.

    Args:
        fast: takes the same arguments and returns the same result, up to rounding.
        when: takes the same arguments.

    Example:
        >>> @fast_form(fast=lambda x: x << 1, when=lambda x: isinstance(x, int))
        ... def double(x):
        ...     return x + x
        >>> double(3), double("ab")
        (6, 'abab')
    """

    def decorate(plain: Function) -> Function:
        @functools.wraps(plain)
        def dispatch(*args: Any, **kwargs: Any) -> Any:
            form = fast if _enabled and when(*args, **kwargs) else plain
            return form(*args, **kwargs)

        return dispatch  # type: ignore[return-value]  # the same signature

    return decorate


def enabled() -> bool:
    """Return whether fast forms are used; False inside :func:`plain_forms`."""
    return _enabled


@contextmanager
def plain_forms() -> Iterator[None]:
    """Use plain forms only, for comparisons. It affects every thread of the process."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before
