"""Atomic writing, and ``zsseg_d2://`` paths to files of the package wherever Detectron2 takes a path."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

PREFIX = "zsseg_d2://"
_PART = (".zsseg_d2-", ".part")
_ROOT = Path(__file__).resolve().parent


class PackageHandler(PathHandler):
    """Resolve ``zsseg_d2://weights/x`` to the file ``weights/x`` inside the installed package; read only."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs) -> str:
        local = (_ROOT / path[len(PREFIX) :]).resolve()
        if _ROOT not in local.parents:
            raise ValueError(f"'{path}' leads out of the package.")
        return str(local)

    def _isfile(self, path: str, **kwargs) -> bool:
        return Path(self._get_local_path(path)).is_file()

    def _exists(self, path: str, **kwargs) -> bool:
        return Path(self._get_local_path(path)).exists()

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs):
        if set(mode) - set("rbt"):
            raise ValueError(f"'{path}' belongs to the package and cannot be written.")
        return open(self._get_local_path(path), mode, buffering)


def local_path(path: str) -> Path:
    """Return the local file of a path, a ``~`` path or a ``zsseg_d2://`` path; it need not exist."""
    return Path(PathManager.get_local_path(path) if path.startswith(PREFIX) else path).expanduser()


PathManager.register_handler(PackageHandler(), allow_override=True)


@contextmanager
def atomic_path(path: str | os.PathLike, ending: str = "") -> Iterator[Path]:
    """Yield a temporary file in the folder of `path`; it replaces `path` on success, and is removed otherwise.

    Args:
        path: the file to write.
        ending: of the temporary file's name, for writers that choose the format by it.
    """
    handle, name = tempfile.mkstemp(prefix=_PART[0], suffix=_PART[1] + ending, dir=Path(path).parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if not temporary.is_symlink():
            os.chmod(temporary, 0o666 & ~_UMASK)  # mkstemp's files are private
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None or str(error.filename) == name:  # writing, as on a full disk, names no file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(name: str) -> bool:
    """Return whether :func:`atomic_path` gives such names to its temporary files."""
    return name.startswith(_PART[0]) and _PART[1] in name


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _umask()


def file_digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
