"""Text rows on disk, so that a second start does not run CLIP's text tower again."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from .files import atomic_path

logger = logging.getLogger(__name__)


class TextCache:
    """A folder of safetensors files, one per key; see :class:`zsseg_d2.modeling.clip.text_classifier.RowStore`.

    A file that is damaged or cannot be written is a warning, not an error: rows can always be computed.

    Args:
        folder: made when the first rows are written.

    Example:
        >>> import tempfile
        >>> cache = TextCache(Path(tempfile.mkdtemp()))
        >>> cache.put("key", torch.ones(2, 3))
        >>> cache.get("key", shape=(2, 3)).sum()
        tensor(6.)
        >>> cache.get("other", shape=(2, 3)) is None
        True
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

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
            float32 rows; None if there are none, or they are damaged or of another shape.
        """
        path = self._path(key)
        try:
            rows = load_file(path)["rows"]
        except FileNotFoundError:
            return None
        except (SafetensorError, KeyError, OSError) as error:
            logger.warning("Cached text rows '%s' cannot be read (%s) and are computed again.", path, error)
            return None
        if tuple(rows.shape) != shape or not bool(torch.isfinite(rows).all()):
            logger.warning("Cached text rows '%s' do not fit and are computed again.", path)
            return None
        return rows

    def put(self, key: str, rows: Tensor) -> None:
        """Write the rows of a key. Concurrent writers and readers never meet half a file."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(self._path(key)) as temporary:
                temporary.write_bytes(save({"rows": rows.contiguous()}))
        except OSError as error:
            logger.warning("Text rows were not cached in '%s': %s", self.folder, error)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


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
