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


def log_to(output: Path) -> None:
    """Write ``log.txt`` in a folder; details, such as the traceback behind a message, are in the file only.

    A log that cannot be written, on a full disk for example, ends the program with an ``OSError`` instead of a
    traceback on standard error for every line.
    """
    for name in ("detectron2", "fvcore", "zsseg_d2"):
        for handler in setup_logger(str(output), distributed_rank=comm.get_rank(), name=name).handlers:
            if getattr(handler, "stream", None) is sys.stdout:
                handler.setLevel(logging.INFO)
                handler.addFilter(_has_no_explanation)
            elif isinstance(handler, logging.StreamHandler):
                handler.handleError = MethodType(_handle_error, handler)  # type: ignore[method-assign]


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
