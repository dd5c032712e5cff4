"""Registries in Detectron2's manner whose entries have names of the config files."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import TypeVar

from fvcore.common.registry import Registry

T = TypeVar("T")


class NamedRegistry(Registry):
    """A registry whose entries are registered under a given name instead of their own.

    Args:
        name: what an entry is, for messages, such as ``"fusion"``.
        key: the config key that chooses an entry, for messages.

    Example::

        >>> COLORS = NamedRegistry("color", "EXAMPLE.COLOR")
        >>> @COLORS.register_as("dark_red")
        ... class DarkRed: ...
        >>> COLORS.get("dark_red").__name__
        'DarkRed'
        >>> COLORS.get("darkred")
        Traceback (most recent call last):
        ...
        ValueError: EXAMPLE.COLOR='darkred': there is no such color. Did you mean dark_red? Registered: dark_red.
    """

    def __init__(self, name: str, key: str) -> None:
        super().__init__(name)
        self.key = key

    def register_as(self, name: str) -> Callable[[T], T]:
        """Register the decorated object under ``name``."""

        def decorate(entry: T) -> T:
            self._do_register(name, entry)
            return entry

        return decorate

    def names(self) -> tuple[str, ...]:
        """Names of all entries, in the order of their registration."""
        return tuple(name for name, _ in self)

    def get(self, name: str):
        """Return the entry of ``name``.

        Raises:
            ValueError: No entry has this name.
        """
        if name not in self:
            known = self.names()
            raise ValueError(
                f"{self.key}={name!r}: there is no such {self._name}.{did_you_mean(name, known)} "
                f"Registered: {', '.join(known)}."
            )
        return super().get(name)


def did_you_mean(wanted: str, known: Iterable[str], count: int = 3) -> str:
    """Return ``" Did you mean a or b?"``, or an empty string where nothing is close."""
    by_fold = {k.lower(): k for k in known}
    close = difflib.get_close_matches(wanted.lower(), by_fold, n=count, cutoff=0.6)
    return f" Did you mean {' or '.join(by_fold[c] for c in close)}?" if close else ""
