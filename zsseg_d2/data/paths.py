"""Paths of dataset files: the root of all datasets, names that come from JSON files, listings."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from .errors import DatasetError


def data_folder(name: str = "") -> Path:
    """Return the folder `name` under ``$DETECTRON2_DATASETS``, or under ``datasets`` in the working directory."""
    return Path(os.environ.get("DETECTRON2_DATASETS") or "datasets").expanduser() / name


def is_relative_inside(name: str) -> bool:
    """Return whether `name` is a relative path, on any system, that does not lead out of the folder it is joined to."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    return (
        bool(name)
        and "\0" not in name
        and ".." not in (*posix.parts, *windows.parts)
        and not posix.is_absolute()
        and not windows.anchor
    )


def safe_join(root: Path, name: object, source: Path) -> Path:
    """Join `root` and a file name that comes from a data file.

    Args:
        root: the folder that the file must be in.
        name: the name as the data file gives it.
        source: the data file, for messages.

    Raises:
        DatasetError: `name` is not a file name, or leads out of `root`.
    """
    if isinstance(name, str) and is_relative_inside(name):
        return root / name
    raise DatasetError(f"{source}: the file name {name!r} leads out of {root}. Fix: use relative names in the JSON.")


class FolderIndex:
    """Test whether files exist with one listing per folder instead of one system call per file."""

    def __init__(self) -> None:
        self._listings: dict[str, frozenset[str]] = {}

    def __contains__(self, path: Path) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._listings:
            try:
                self._listings[folder] = frozenset(os.listdir(folder or "."))
            except OSError:
                self._listings[folder] = frozenset()
        return name in self._listings[folder]
