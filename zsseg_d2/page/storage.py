"""The folder of uploads and results: bounded, and gone when the page ends."""

from __future__ import annotations

import os
import secrets
import threading
from pathlib import Path

from ..reading import MB, printable

DISK_LIMIT = 1024 * MB
"""Bytes of all uploads and results."""


class Storage:
    """A folder from which the oldest files are removed where it becomes too large.

    Args:
        root: the folder; it must exist and hold files of the page alone.
        limit: bytes of all files; those of :meth:`keep_present` do not count.
    """

    def __init__(self, root: Path, limit: int = DISK_LIMIT) -> None:
        self.root, self.limit = root.resolve(), limit
        self._kept: frozenset[Path] = frozenset()
        self._lock = threading.Lock()

    def keep_present(self) -> None:
        """Never remove the files that are there now."""
        self._kept = frozenset(self._files())

    def holds(self, path: str | os.PathLike) -> bool:
        """Return whether a path leads to a regular file of the folder; links out of it do not."""
        try:
            real = Path(path).resolve()
            return self.root in real.parents and real.is_file()
        except (OSError, ValueError, RuntimeError):  # too long, with a null character, or a loop of links
            return False

    def new_file(self, name: str) -> Path:
        """Return a path for a new file of this name, in a folder whose name nobody can guess."""
        folder = self.root / secrets.token_hex(16)
        folder.mkdir()
        return folder / name

    def make_room(self, wanted: int) -> None:
        """Remove the oldest files until `wanted` more bytes are within the limit."""
        with self._lock:
            found = []
            for path in self._files():
                if path not in self._kept:
                    try:
                        status = path.stat()
                    except FileNotFoundError:
                        continue
                    found.append((status.st_mtime_ns, path, status.st_size))
            total = sum(size for _, _, size in found)
            for _, path, size in sorted(found):
                if total + wanted <= self.limit:
                    break
                path.unlink(missing_ok=True)
                total -= size

    def _files(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if path.is_file() and not path.is_symlink()]


def without_folder(message: str, path: Path) -> str:
    """Take the folder of a visitor's file out of a message, which names the file itself."""
    return message.replace(printable(path), printable(path.name)).replace(str(path), path.name)
