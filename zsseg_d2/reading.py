"""Reading files that may be anything: regular files only, of a bounded size, with a checked structure."""

from __future__ import annotations

import itertools
import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TypeVar, overload

import msgspec

T = TypeVar("T")

MB = 2**20
JSON_LIMIT = 2048 * MB
"""Bytes of the largest JSON file that is read; the panoptic annotations of COCO's training set have 330 MB."""
TEXT_LIMIT = 64 * MB
"""Bytes of the largest text or YAML file that is read."""
BOM = b"\xef\xbb\xbf"

_PLACE = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.+)`")


class UnusableFile(ValueError):
    """A file that cannot be read or has the wrong content; the message names the file and the remedy."""


def open_regular(path: str | os.PathLike, limit: float = math.inf) -> IO[bytes]:
    """Open a regular file, or a link to one, for reading.

    A FIFO or a device would block, or never end.

    Args:
        path: the file.
        limit: number of bytes that the file may have.

    Returns:
        The binary file.

    Raises:
        FileNotFoundError: there is no such file.
        UnusableFile: it is not a regular file, cannot be opened, or is larger than `limit`.
    """
    path = Path(path)
    try:
        # Without O_NONBLOCK, opening a FIFO waits for its writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnusableFile(f"{printable(path)}: cannot be opened ({reason}).") from None
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise UnusableFile(f"{printable(path)}: is a folder, not a file. Fix: name a file inside it.")
        if not stat.S_ISREG(found.st_mode):
            raise UnusableFile(f"{printable(path)}: is a device or a pipe, not a regular file. Fix: name a file.")
        if found.st_size > limit:
            raise UnusableFile(
                f"{printable(path)}: has {found.st_size:,} bytes, and at most {limit:,.0f} are read. "
                "Fix: check that it is the right file."
            )
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: str | os.PathLike, limit: float) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises:
        FileNotFoundError: there is no such file.
        UnusableFile: see :func:`open_regular`; or reading fails.
    """
    with open_regular(path, limit) as file:
        try:
            return file.read()
        except OSError as error:
            raise UnusableFile(f"{printable(path)}: cannot be read ({error.strerror}).") from None


def read_lines(path: str | os.PathLike, limit: int, *, remedy: str = "") -> Iterator[bytes]:
    """Yield the complete lines of a regular file of any size, without their ends; a last one that was cut off is not.

    Args:
        path: the file.
        limit: number of bytes that a line may have.
        remedy: how to make the file again, for messages.

    Raises:
        FileNotFoundError: there is no such file.
        UnusableFile: see :func:`read_bytes`; or a line is too long. Raised when that line is reached.
    """
    with open_regular(path) as file:
        for number in itertools.count(1):
            try:
                line = file.readline(limit + 1)
            except OSError as error:
                raise UnusableFile(f"{printable(path)}: cannot be read ({error.strerror}).") from None
            if len(line) > limit and not line.endswith(b"\n"):
                end = f" Fix: {remedy}." if remedy else ""
                raise UnusableFile(f"{printable(path)}: line {number} has more than {limit:,} bytes.{end}")
            if not line.endswith(b"\n"):
                return
            yield line[:-1]


def read_text(path: str | os.PathLike, limit: float = TEXT_LIMIT) -> str:
    """Read a UTF-8 text file, with or without a byte order mark.

    Raises:
        FileNotFoundError: there is no such file.
        UnusableFile: see :func:`read_bytes`; or the text is not UTF-8.
    """
    content = read_bytes(path, limit)
    try:
        return content.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnusableFile(
            f"{printable(path)}: is not UTF-8 text (byte {error.start} is 0x{content[error.start]:02x}). "
            "Fix: save it as UTF-8."
        ) from None


@overload
def read_json(path: str | os.PathLike, kind: type[T], *, limit: float = ..., remedy: str = ...) -> T: ...
@overload
def read_json(path: str | os.PathLike, kind: Any = ..., *, limit: float = ..., remedy: str = ...) -> Any: ...
def read_json(path: str | os.PathLike, kind: Any = Any, *, limit: float = JSON_LIMIT, remedy: str = "") -> Any:
    """Read a JSON file and check its structure.

    Args:
        path: the file.
        kind: the type of the content, such as a ``msgspec.Struct`` or ``dict[str, int]``.
        limit: number of bytes that the file may have.
        remedy: how to make the file again, for messages.

    Returns:
        The content, as `kind`.

    Raises:
        FileNotFoundError: there is no such file.
        UnusableFile: the file is not regular, too large, not JSON, or not of this structure; the message names the
            place.
    """
    return decode_json(read_bytes(path, limit), kind, path, remedy=remedy)


def decode_json(content: bytes, kind: Any, path: str | os.PathLike, *, remedy: str = "") -> Any:
    """Decode the content of a JSON file and check its structure; see :func:`read_json`."""
    end = f" Fix: {remedy}." if remedy else ""
    try:
        return msgspec.json.decode(content.removeprefix(BOM), type=kind)
    except msgspec.ValidationError as error:
        place, problem = explain(error)
        raise UnusableFile(f"{printable(path)}: '{place or 'the file'}' {problem}.{end}") from None
    except RecursionError:
        raise UnusableFile(f"{printable(path)}: is nested too deeply.{end}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnusableFile(f"{printable(path)}: is not valid JSON ({error}).{end}") from None


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


def printable(text: object) -> str:
    """Escape control characters, which could rewrite the lines of a terminal.

    Example:
        >>> printable("a\\x1b[2Kb.png")
        'a\\\\x1b[2Kb.png'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(text))


def yaml_problem(error: Exception) -> str:
    """Say what is wrong with a YAML file, and where, without its content.

    PyYAML's own message quotes the line, and the file may be one that was not meant.

    Args:
        error: what PyYAML raised.

    Returns:
        Words that follow the file's name, such as "is not valid YAML (line 3: mapping values are not allowed here)."
    """
    if isinstance(error, RecursionError):
        return "is nested too deeply."
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return "is not valid YAML."
    problem = getattr(error, "problem", None) or ""
    plain = "" if not problem or "'" in problem or '"' in problem else f": {problem}"  # in quotes: of the file
    return f"is not valid YAML (line {mark.line + 1}{plain})."
