"""The error that every reader and writer of dataset files raises."""

from __future__ import annotations

import re

from ..reading import printable

_FROM_WORKER = re.compile(r"\ACaught .*Original Traceback.*^(?:\w+\.)*\w+: (.*)\Z", re.DOTALL | re.MULTILINE)


class DatasetError(ValueError):
    """A problem with the files or the registration of a dataset; the message names the file and the remedy.

    Control characters of the message are escaped: names that come from files could rewrite the lines of a terminal.
    Of an error in a loader's worker process, only the sentence is kept.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(without_traceback(message)))


def without_traceback(message: str) -> str:
    """Return what a loader's worker process said of an error; other messages stay as they are.

    torch raises the error again in the main process, with the worker's traceback as its message.

    Example:
        >>> without_traceback("Caught E in DataLoader worker 0.\\nOriginal Traceback …\\npackage.E: a.png is bad.\\n")
        'a.png is bad.'
    """
    found = _FROM_WORKER.match(message)
    return found[1].strip() if found else message
