"""The entries of a JSON list, one at a time, from a file of any size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from json.decoder import WHITESPACE
from pathlib import Path
from typing import TextIO

from ..panoptic.records import DatasetError

PIECE = 1 << 22  # characters read at once


def iterate_json_list(path: Path, remedy: str) -> Iterator[object]:
    """Yields what the list in `path` holds; no more than one piece of the text is in memory.

    Args:
        path: the file.
        remedy: how to get it, for messages.
    Raises:
        DatasetError: missing, not valid JSON (after the entries before the damage), or no list.
    """
    number = 0
    try:
        with open(path, encoding="utf-8") as file:
            stream = _Stream(file)
            stream.expect("[")
            if stream.peek() == "]":
                return
            while True:
                yield stream.value()
                number += 1
                if stream.expect(",]") == "]":
                    return
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing; {remedy}.") from None
    except _Unexpected as error:
        problem = f"not a JSON list ({error})" if not number else f"damaged after entry {number} ({error})"
        raise DatasetError(f"{path} is {problem}; {remedy}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not valid JSON: entry {number + 1}: {error}; {remedy}.") from error


class _Unexpected(Exception):
    """Another character than the list needs here."""


class _Stream:
    """A window on the text of a file that moves forward."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text, self._place, self._read = "", 0, PIECE
        self._decode = json.JSONDecoder().raw_decode

    def _more(self) -> bool:
        piece = self._file.read(self._read)
        if piece:
            self._text, self._place = self._text[self._place :] + piece, 0
        return bool(piece)

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            self._place = WHITESPACE.match(self._text, self._place).end()
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._more():
                return ""

    def expect(self, characters: str) -> str:
        """Takes the next character, which must be one of `characters`."""
        found = self.peek()
        if not found or found not in characters:
            raise _Unexpected(f"{found!r} where one of {characters!r} belongs" if found else "it ends too early")
        self._place += 1
        return found

    def value(self) -> object:
        """Takes the next value."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._place)
            except json.JSONDecodeError:
                # Cut off by the end of the window, or wrong; reading twice as much each time keeps the latter cheap.
                self._read *= 2
                if not self._more():
                    raise
                continue
            # A number may go on behind the window: after "1", "1." and "1e-" alike, the value so far is 1.
            if len(self._text) - end < 3 and self._more():
                continue
            self._place, self._read = end, PIECE
            return value
