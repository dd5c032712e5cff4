"""The files of a report: drafted in a folder of their own, then moved to their places without touching other files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

import msgspec

from ..engine.errors import ConfigError
from ..files import atomic_path
from ..reading import MB, UnusableFile, read_json

_WRITTEN = Path(".suite", "report.json")
"""Below the folder: what the last report wrote, and the SHA-256 of each file."""


_LARGEST = 1024 * MB  # no report writes larger files, and to compare one could take hours


class ReportFiles:
    """Context in which a report is drafted.

    Only files that an earlier report wrote, and that are as it left them, are replaced or removed.

    Args:
        folder: where the report belongs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before = _written(folder)

    def __enter__(self) -> ReportFiles:
        (self.folder / _WRITTEN).parent.mkdir(parents=True, exist_ok=True)
        self.draft = Path(tempfile.mkdtemp(prefix="report.", dir=(self.folder / _WRITTEN).parent))
        """Where to write the files of the report, under their names."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.draft, ignore_errors=True)

    def publish(self) -> None:
        """Move the drafted files to their places, and remove those of the last report that have none any more.

        Raises:
            ConfigError: a file is in the way that no report wrote.
        """
        names = sorted(p.relative_to(self.draft).as_posix() for p in self.draft.rglob("*") if p.is_file())
        for name in names:
            path = self.folder / name
            if (path.exists() or path.is_symlink()) and not self._is_ours(name):
                raise ConfigError(
                    f"{path}: no report wrote this file as it is, so none replaces it. Fix: move it away, or give "
                    "another --output."
                )
        digests = {name: _digest(self.draft / name) for name in names}
        with atomic_path(self.folder / _WRITTEN) as temporary:  # first: a report that is cut off stays replaceable
            content = {"files": {**self._before, **digests}, "before": self._before}
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.draft / name, self.folder / name)
        for name in self._before.keys() - digests.keys():
            if self._is_ours(name):
                (self.folder / name).unlink(missing_ok=True)
        with atomic_path(self.folder / _WRITTEN) as temporary:
            temporary.write_text(json.dumps({"files": digests, "before": {}}, indent=1), encoding="utf-8")

    def _is_ours(self, name: str) -> bool:
        path = self.folder / name
        if not path.is_file() or path.is_symlink() or path.stat().st_size > _LARGEST:
            return False
        if self._before:
            return _digest(path) in (self._before.get(name), self._earlier.get(name))
        return _is_of_an_earlier_version(self.folder) and name in _KNOWN

    @property
    def _earlier(self) -> dict[str, str]:
        return _content(self.folder).before


_KNOWN = {"results.json", "results.csv", "results.md", *(f"plots/{n}.png" for n in ("iterations", "classes", "in_out"))}
"""What reports wrote before they kept a list."""


class _Content(msgspec.Struct):
    files: dict[str, str] = {}
    before: dict[str, str] = {}


def _content(folder: Path) -> _Content:
    try:
        return read_json(folder / _WRITTEN, _Content, limit=MB)
    except (FileNotFoundError, UnusableFile):
        return _Content()


def _written(folder: Path) -> dict[str, str]:
    return {n: d for n, d in _content(folder).files.items() if not Path(n).is_absolute() and ".." not in Path(n).parts}


def _is_of_an_earlier_version(folder: Path) -> bool:
    try:
        content = read_json(folder / "results.json", dict[str, object], limit=_LARGEST)
    except (FileNotFoundError, UnusableFile):
        return False
    return {"title", "made", "seeds", "measures", "runs"} <= content.keys()


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
