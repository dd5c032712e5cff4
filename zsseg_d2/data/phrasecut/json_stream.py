"""Reading the entries of a JSON list one at a time, from a file of any size."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ...reading import JSON_LIMIT, UnusableFile, open_regular
from ..errors import DatasetError

PIECE = 1 << 22  # characters read at once
ENTRY_LIMIT = 1 << 26
"""Characters of the largest entry that is read."""
_WHITESPACE = re.compile(r"[ \t\n\r]*")


def iterate_json_list(path: Path, remedy: str) -> Iterator[object]:
    """Yield the entries of the list in `path`, with no more than one piece of the text in memory.

    Args:
        path: the file.
        remedy: how to get it, for messages.

    Raises:
        DatasetError: the file is missing, not a regular file, too large, not valid JSON (raised after the entries
            before the damage), or not a list, or an entry is too large.
    """
    number = 0
    try:
        with open_regular(path, JSON_LIMIT) as binary, io.TextIOWrapper(binary, encoding="utf-8-sig") as file:
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
    except UnusableFile as error:
        raise DatasetError(str(error)) from None
    except _Unexpected as error:
        problem = f"not a JSON list ({error})" if not number else f"damaged after entry {number} ({error})"
        raise DatasetError(f"{path} is {problem}; {remedy}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not valid JSON: entry {number + 1}: {error}; {remedy}.") from error


class _Unexpected(Exception):
    """A character that cannot follow here, or too many of them."""


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
        """Return the next character that is not white space; "" at the end."""
        while True:
            space = _WHITESPACE.match(self._text, self._place)
            self._place = space.end() if space else self._place
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._more():
                return ""

    def expect(self, characters: str) -> str:
        """Take the next character, which must be one of `characters`."""
        found = self.peek()
        if not found or found not in characters:
            raise _Unexpected(f"{found!r} instead of one of {characters!r}" if found else "it ends too early")
        self._place += 1
        return found

    def value(self) -> object:
        """Take the next value."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._place)
            except json.JSONDecodeError:
                # Cut off by the end of the window, or wrong; reading twice as much each time keeps the latter cheap.
                if len(self._text) - self._place > ENTRY_LIMIT:
                    raise _Unexpected(f"an entry has more than {ENTRY_LIMIT:,} characters") from None
                self._read *= 2
                if not self._more():
                    raise
                continue
            # A number may continue after the window: after "1", "1." and "1e-" alike, the value so far is 1.
            if len(self._text) - end < 3 and self._more():
                continue
            self._place, self._read = end, PIECE
            return value
