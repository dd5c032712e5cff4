"""Text rows on disk, so that a second start does not run CLIP's text tower again."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from .reading import UnusableFile
from .tensor_files import SAFETENSORS, read_tensors, write_tensors

logger = logging.getLogger(__name__)

ENTRIES = 16_384
"""Files of a cache; those that were not used for longest are removed. 16,384 rows of 768 numbers take 64 MB."""

_ROOM = 10  # a full cache is emptied by this part at a time
_NORM_ERROR = 1e-4


class TextCache:
    """A folder of safetensors files, one per key; see :class:`zsseg_d2.modeling.clip.text_classifier.RowStore`.

    Files carry their key and a digest of their rows. One that is damaged or cannot be written is a warning, not an
    error: rows can always be computed. The number of files is bounded.

    Args:
        folder: made when the first rows are written.
        entries: number of files that are kept.

    Example:
        >>> import tempfile
        >>> cache = TextCache(Path(tempfile.mkdtemp()))
        >>> cache.put("key", torch.eye(2, 3))
        >>> cache.get("key", shape=(2, 3)).sum()
        tensor(2.)
        >>> cache.get("other", shape=(2, 3)) is None
        True
    """

    def __init__(self, folder: str | Path, entries: int = ENTRIES) -> None:
        self.folder = Path(folder)
        self.entries = entries
        self._room = 0  # files that can be written before the folder is listed again

    @classmethod
    def from_setting(cls, setting: str) -> TextCache | None:
        """Open the cache that ZSSEG.TEXT_CACHE names; see :func:`text_cache_folder`. None if there is none."""
        folder = text_cache_folder(setting)
        return None if folder is None else cls(folder)

    def get(self, key: str, shape: tuple[int, int]) -> Tensor | None:
        """Read the rows of a key.

        Args:
            key: fit for a file name.
            shape: of the rows.

        Returns:
            float32 rows of norm 1; None if there are none, or they are damaged or of another shape.
        """
        path = self._path(key)
        try:
            content = read_tensors(path)
        except FileNotFoundError:
            return None
        except (UnusableFile, OSError) as error:
            logger.warning("Cached text rows cannot be read and are computed again. %s", error)
            return None
        rows = content.tensors.get("rows")
        if content.rest != {"key": key} or rows is None or not _are_rows(rows, shape):
            logger.warning("Cached text rows '%s' do not fit and are computed again.", path)
            return None
        with suppress(OSError):  # a cache that cannot be written serves too
            os.utime(path)
        return rows

    def put(self, key: str, rows: Tensor) -> None:
        """Write the rows of a key. Concurrent writers and readers never meet half a file."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._room <= 0:
                self._room = self._make_room()
            self._room -= 1
            write_tensors(self._path(key), {"rows": rows.contiguous()}, {"key": key})
        except OSError as error:
            logger.warning("Text rows were not cached in '%s': %s", self.folder, error)

    def _make_room(self) -> int:
        """Remove the files that were not used for longest if the cache is full, and return how many more fit."""
        files = []
        with os.scandir(self.folder) as listing:
            for entry in listing:
                with suppress(FileNotFoundError):  # another process makes room too
                    if entry.name.endswith(SAFETENSORS):
                        files.append((entry.stat().st_mtime, entry.path))
        if len(files) < self.entries:
            return self.entries - len(files)
        kept = self.entries - max(1, self.entries // _ROOM)
        for _, path in sorted(files)[: len(files) - kept]:
            with suppress(FileNotFoundError):
                os.unlink(path)
        return self.entries - kept

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{SAFETENSORS}"


def _are_rows(rows: Tensor, shape: tuple[int, int]) -> bool:
    """Return whether these are (T, E) float32 rows of norm 1."""
    if tuple(rows.shape) != shape or rows.dtype != torch.float32:
        return False
    return bool(((rows.norm(dim=-1) - 1).abs() < _NORM_ERROR).all())  # False for NaN


def text_cache_folder(setting: str) -> Path | None:
    """Return the folder that ZSSEG.TEXT_CACHE names.

    Args:
        setting: "auto" ($ZSSEG_D2_CACHE or ~/.cache/zsseg_d2), a path, or "" for no cache.
    """
    if not setting:
        return None
    if setting != "auto":
        return Path(setting).expanduser()
    return Path(os.environ.get("ZSSEG_D2_CACHE") or Path.home() / ".cache" / "zsseg_d2").expanduser() / "text_rows"
