"""Atomic writing, and ``zsseg_d2://`` paths to files of the package wherever Detectron2 takes a path."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

if sys.platform != "win32":
    import fcntl

PREFIX = "zsseg_d2://"
_PART = (".zsseg_d2-", ".part")
_ROOT = Path(__file__).resolve().parent
_swept: set[str] = set()  # folders in which this process looked for orphans


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

    The first call for a folder in a process removes what killed writers left there; see :func:`remove_orphans`.

    Args:
        path: the file to write.
        ending: of the temporary file's name, for writers that choose the format by it.
    """
    folder = Path(path).parent
    if os.path.abspath(folder) not in _swept:
        _swept.add(os.path.abspath(folder))
        with suppress(OSError):  # what follows tells what is wrong with the folder
            remove_orphans(folder)
    lock, temporary = _locked_temporary(folder, ending)
    try:
        yield temporary
        if not temporary.is_symlink():
            os.chmod(temporary, 0o666 & ~_UMASK)  # mkstemp's files are private
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None or str(error.filename) == str(temporary):  # writing, as on a full disk, names no file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
        lock.close()


def remove_orphans(folder: str | os.PathLike, *, alone: bool = False) -> None:
    """Remove the temporary files of killed writers from a folder, not from those below it.

    A writer holds a lock on its temporary file, which ends with its process.

    Args:
        folder: must exist.
        alone: nobody else writes here, so that files which cannot be locked (links; all on some network file systems)
            are orphans too.
    """
    for name in filter(_is_temporary, os.listdir(folder)):
        path = Path(folder, name)
        with ExitStack() as stack:
            locked = None
            if not path.is_symlink():
                with suppress(OSError):
                    locked = _lock(stack.enter_context(open(path, "r+b")))
            if locked or (alone and locked is None):
                path.unlink(missing_ok=True)


def _is_temporary(name: str) -> bool:
    return name.startswith(_PART[0]) and _PART[1] in name


def _locked_temporary(folder: Path, ending: str) -> tuple[IO[bytes], Path]:
    """Make a temporary file; return it, locked until it is closed, and its path. Without locks it is closed already."""
    while True:
        handle, name = tempfile.mkstemp(prefix=_PART[0], suffix=_PART[1] + ending, dir=folder)
        file = os.fdopen(handle, "r+b")
        locked = _lock(file)
        if locked is None:
            file.close()
        elif not locked or not os.path.lexists(name):  # another process took it for an orphan before it was locked
            file.close()
            continue
        return file, Path(name)


def _lock(file: IO[bytes]) -> bool | None:
    """Lock a file until it is closed; False if another process has locked it, None where there are no locks."""
    if sys.platform == "win32":  # an open file cannot be replaced there
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


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
