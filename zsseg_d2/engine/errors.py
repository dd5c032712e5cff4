"""Errors that the user can fix: programs end with one line that names the file or key and the remedy."""

from __future__ import annotations

import errno
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from ..data.errors import DatasetError, without_traceback
from ..folder_lock import FolderInUse
from ..plugins import PluginError
from ..process import end_if_nobody_reads
from ..reading import UnusableFile, printable
from ..registry import did_you_mean
from .lost_processes import lost_worker

__all__ = ["USER_ERRORS", "CheckpointError", "ConfigError", "did_you_mean", "explanation", "one_line_errors"]

logger = logging.getLogger(__name__)


class ConfigError(ValueError):
    """A config file, key or value that does not work; the message names it and the remedy."""


class CheckpointError(RuntimeError):
    """Weights that are missing or unreadable, or do not fit the model; the message names the remedy."""


class Diverged(RuntimeError):
    """A training whose losses or weights are no numbers any more; the message says where, and what to try."""


class ProcessLost(RuntimeError):
    """A process of a run ended or does not answer; the message says which one, and why."""


USER_ERRORS = (
    *(ConfigError, CheckpointError, Diverged, ProcessLost, DatasetError, UnusableFile, FolderInUse, PluginError),
    *(OSError, MemoryError, RecursionError),
)
"""What :func:`explanation` explains, besides errors of torch that stand for one of these."""

_REMEDIES = {
    errno.ENOSPC: "free some space, or write to another folder",
    errno.EDQUOT: "free some space, or write to another folder",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or write to another folder",
    errno.EROFS: "write to another folder",
    errno.EACCES: "change its permissions, or name another path",
    errno.EPERM: "change its permissions, or name another path",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a file stands where a folder is needed; name another path",
    errno.EISDIR: "a folder stands where a file is needed; name another path",
    errno.EEXIST: "move it away, or name another path",
    errno.ENOTEMPTY: "move its files away, or name another path",
    errno.ELOOP: "its symbolic links lead back to themselves; mend them",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or use fewer workers",
    errno.ENFILE: "close other programs, or use fewer workers",
    errno.EIO: "check the disk or the network drive",
    errno.ESTALE: "mount the network drive again",
}
_MEMORY = (
    "There is not enough memory. Fix: use smaller images or batches, fewer workers (DATALOADER.NUM_WORKERS) or fewer "
    "processes"
)
_PATHLIB = {  # its errors that are no OSError
    "Symlink loop from": _REMEDIES[errno.ELOOP],
    "Could not determine home directory": "write a path that begins with ~ in full",
}
_TORCH_MEMORY = ("DefaultCPUAllocator", "can't allocate memory", "CUDA out of memory")
_TORCH_WRITING = ("PytorchStreamWriter failed", "inline_container.cc", "basic_ios::clear", "I/O error:")
_PARSERS = frozenset(("ast", "json", "pickle", "yacs", "yaml"))


def explanation(error: BaseException) -> str | None:
    """Explain an error in one line: the file or key, the problem, and the remedy.

    Args:
        error: any exception.

    Returns:
        The line, without control characters; None for an error that is a bug of the program.
    """
    text = str(error)
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or _says(error, _TORCH_MEMORY):
        return _MEMORY
    if _says(error, _TORCH_WRITING):
        return _in_one_line(f"A file could not be written ({text.splitlines()[0]}). Fix: {_REMEDIES[errno.ENOSPC]}")
    worker = lost_worker(error)
    if worker is not None:
        return worker
    for mark, remedy in _PATHLIB.items():
        if type(error) is RuntimeError and text.startswith(mark):
            return _in_one_line(f"{text.rstrip('.')}. Fix: {remedy}")
    if not isinstance(error, USER_ERRORS):
        return None
    if isinstance(error, RecursionError):
        if not _while_parsing(error):
            return None
        return "What was read is nested too deeply. Fix: mend the file or the value; --debug shows where it was read"
    if isinstance(error, OSError) and error.errno in _REMEDIES and error.strerror:
        files = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        where = f"{files}: {error.strerror}" if files else error.strerror
        return _in_one_line(f"{where}. Fix: {_REMEDIES[error.errno]}")
    return _in_one_line(without_traceback(text) or type(error).__name__)


def _while_parsing(error: BaseException) -> bool:
    """Return whether a parser went too deep, that is data; the program's own recursion is a bug."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(module.partition(".")[0] in _PARSERS for module in modules[-20:])


def _says(error: BaseException, marks: tuple[str, ...]) -> bool:
    """Return whether an error of torch or safetensors, which have no types of their own for it, says one of `marks`."""
    torch_error = isinstance(error, RuntimeError) or type(error).__name__ == "SafetensorError"
    return torch_error and any(mark in str(error) for mark in marks)


def _in_one_line(text: str) -> str:
    joined = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return printable(joined)


@contextmanager
def one_line_errors(*, debug: bool = False) -> Iterator[None]:
    """End the program with one ``error:`` line where something fails that its user can fix.

    Bugs keep their tracebacks. Where nobody reads the output any more, as in ``| head``, it ends without a word.

    Args:
        debug: keep every traceback.

    Raises:
        SystemExit: the line, with exit status 1; 130 after Ctrl-C; 141 where nobody reads the output.
    """
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        if isinstance(error, BrokenPipeError):
            end_if_nobody_reads()
        line = explanation(error)
        if debug or line is None:
            raise
        with suppress(OSError):
            logger.debug("The traceback behind the message:", exc_info=True)  # for log.txt
        raise SystemExit(f"error: {line}") from error
