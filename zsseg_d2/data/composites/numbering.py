"""A composite is an integer: index <-> (foreground, background, flip, position)."""

from __future__ import annotations

from typing import NamedTuple


class Choice(NamedTuple):
    """What a composite is made of; all numbers count from 0."""

    foreground: int
    background: int
    flip: int  # 1: the foreground is mirrored
    position: int


class Numbering(NamedTuple):
    """How many there are of each; the index is the mixed-radix number of the four, position last.

    Example:
        >>> published = Numbering(100, 100, 2, 20)
        >>> published.size, published.choice(399_999)
        (400000, Choice(foreground=99, background=99, flip=1, position=19))
        >>> published.number(Choice(0, 1, 0, 3))
        43
    """

    foregrounds: int
    backgrounds: int
    flips: int
    positions: int

    @property
    def size(self) -> int:
        """The number of composites; indices run from 0 to ``size - 1``."""
        return self.foregrounds * self.backgrounds * self.flips * self.positions

    def choice(self, index: int) -> Choice:
        """Return what composite `index` is made of.

        Raises:
            IndexError: there is no such composite.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"composite {index}: there are only those from 0 to {self.size - 1}")
        rest, position = divmod(index, self.positions)
        rest, flip = divmod(rest, self.flips)
        foreground, background = divmod(rest, self.backgrounds)
        return Choice(foreground, background, flip, position)

    def number(self, choice: Choice) -> int:
        """Return the number of a composite.

        Raises:
            IndexError: there is no such composite.
        """
        if not all(0 <= number < count for number, count in zip(choice, self)):
            raise IndexError(f"{choice} is not one of {self}")
        foreground, background, flip, position = choice
        return ((foreground * self.backgrounds + background) * self.flips + flip) * self.positions + position
