"""The error that every reader and writer of dataset files raises."""

from __future__ import annotations

from ..reading import printable

_FROM_WORKER = "Caught "
"""How torch begins the text of an error that a loader's worker process raised; a traceback follows."""


class DatasetError(ValueError):
    """A problem with the files or the registration of a dataset; the message names the file and the remedy.

    Control characters of the message are escaped: names that come from files could rewrite the lines of a terminal.
    torch raises a worker's error again in the main process, with the worker's traceback as its message. Only the
    sentence is kept.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(_sentence(message, type(self))))


def _sentence(message: str, kind: type) -> str:
    """Return what stands behind the error's name in a traceback; other messages stay as they are.

    Example:
        >>> text = "Caught E in DataLoader worker process 0.\\n  …\\npackage.E: a.png is bad.\\n"
        >>> _sentence(text, type("E", (), {"__module__": "package"}))
        'a.png is bad.'
    """
    if not message.startswith(f"{_FROM_WORKER}{kind.__name__} "):
        return message
    _, found, sentence = message.rpartition(f"\n{kind.__module__}.{kind.__qualname__}: ")
    return sentence.strip() if found else message
