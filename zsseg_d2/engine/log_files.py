"""``log.txt`` in an output folder."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from types import MethodType

from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from .errors import explanation

_LOGGERS = ("detectron2", "fvcore", "zsseg_d2")
_handlers: list[logging.Handler] = []
_before: dict[str, tuple[int, bool]] = {}  # level and propagation of the loggers that Detectron2 changes


def log_to(output: Path | None) -> None:
    """Log to the terminal and, in a folder, to ``log.txt``.

    Details, such as the traceback behind a message, are in the file only. What an earlier call set up ends: of several
    runs in one Python process, each writes its own log, and every line once.

    A log that cannot be written, on a full disk for example, ends the program with an ``OSError`` instead of a
    traceback on standard error for every line.

    Args:
        output: the folder; None logs to the terminal alone.
    """
    stop_logging()
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        others = list(logger.handlers)
        _before[name] = logger.level, logger.propagate
        log = setup_logger(output and str(output), distributed_rank=comm.get_rank(), name=name)
        for handler in [handler for handler in log.handlers if handler not in others]:
            _handlers.append(handler)
            if getattr(handler, "stream", None) is sys.stdout:
                handler.setLevel(logging.INFO)
                handler.addFilter(_has_no_explanation)
            elif isinstance(handler, logging.StreamHandler):
                handler.handleError = MethodType(_handle_error, handler)  # type: ignore[method-assign]


def stop_logging() -> None:
    """Undo :func:`log_to`."""
    for handler in _handlers:
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(handler)
    _handlers.clear()
    for name, (level, propagate) in _before.items():
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).propagate = propagate
    _before.clear()
    setup_logger.cache_clear()  # otherwise it adds no handlers for a folder that it has seen


def _has_no_explanation(record: logging.LogRecord) -> bool:
    """Return whether a record belongs on the terminal: not the traceback of an error that ends the program in a line.

    Detectron2's trainer logs the traceback of every exception.
    """
    return not (record.exc_info and record.exc_info[1] and explanation(record.exc_info[1]))


def _handle_error(handler: logging.StreamHandler, record: logging.LogRecord) -> None:
    error = sys.exc_info()[1]
    if not isinstance(error, OSError):
        logging.Handler.handleError(handler, record)
        return
    # What is left in the file's buffer would fail again, with a traceback, when the file is closed at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), handler.stream.fileno())
    raise OSError(error.errno, error.strerror, getattr(handler.stream, "name", "log.txt")) from error
