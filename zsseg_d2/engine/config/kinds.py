"""What a config key accepts, as small values: numbers of a range, flags, text, lists of these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Kind(Protocol):
    """What a key accepts."""

    def problem(self, value: object) -> str | None:
        """Return what is wrong with a value, as the end of "KEY=value: it must be …"; None if nothing is."""
        ...


@dataclass(frozen=True)
class Number:
    """A finite number of a range, bounds included."""

    low: float
    high: float = math.inf
    whole: bool = False
    above_low: bool = False  # without the lower bound
    others: tuple[float, ...] = ()  # accepted in any case

    def problem(self, value: object) -> str | None:
        known = isinstance(value, int if self.whole else (int, float)) and not isinstance(value, bool)
        if known and (value in self.others or (self._inside(value) and math.isfinite(value))):  # type: ignore[arg-type]
            return None
        return self._text() + "".join(f", or {other:g}" for other in self.others)

    def _inside(self, value: float) -> bool:
        return (self.low < value if self.above_low else self.low <= value) and value <= self.high

    def _text(self) -> str:
        whole = "a whole number, " if self.whole else ""
        if self.above_low and self.low == 0:
            return "positive" + (f", at most {_short(self.high)}" if self.high < math.inf else "")
        if self.high < math.inf:
            return f"{whole}in [{_short(self.low)}, {_short(self.high)}]"
        return f"{whole}at least {_short(self.low)}"


@dataclass(frozen=True)
class Flag:
    """True or False."""

    def problem(self, value: object) -> str | None:
        return None if isinstance(value, bool) else "True or False"


@dataclass(frozen=True)
class Text:
    """Text without control characters; `named` must not be empty."""

    named: bool = False

    def problem(self, value: object) -> str | None:
        if not isinstance(value, str) or not value.isprintable():
            return "text without control characters"
        return "a name" if self.named and not value.strip() else None


@dataclass(frozen=True)
class Listed:
    """A list of values of one kind."""

    kind: Kind
    least: int = 0
    most: int = 1000
    what: str = ""
    rising: bool = False  # each above the one before

    def problem(self, value: object) -> str | None:
        if not isinstance(value, Sequence) or isinstance(value, str) or not self.least <= len(value) <= self.most:
            return self._text()
        for item in value:
            inner = self.kind.problem(item)
            if inner is not None:
                return f"{self._text()} (each {inner})"
        if self.rising and any(b <= a for a, b in zip(value, value[1:])):
            return f"{self._text()}, each above the one before"
        return None

    def _text(self) -> str:
        if self.least == self.most:
            return f"a list of {self.least} {self.what}"
        return f"a list of {self.what}" + (", not empty" if self.least else "")


@dataclass(frozen=True)
class AnyOf:
    """A value of the first or of the second kind."""

    first: Kind
    second: Kind

    def problem(self, value: object) -> str | None:
        problems = [kind.problem(value) for kind in (self.first, self.second)]
        return None if None in problems else f"{problems[0]}, or {problems[1]}"


@dataclass(frozen=True)
class Anything:
    """A value that is checked elsewhere."""

    def problem(self, value: object) -> str | None:
        return None


def _short(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else f"{number:g}"
