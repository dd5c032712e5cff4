"""The config files that come with the package, and how a name on the command line finds one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import ConfigError, did_you_mean
from .renamed import renamed_file

logger = logging.getLogger(__name__)


def config_root() -> Path:
    """Return the folder of packaged configs: ``zsseg_d2/configs`` if installed, else ``configs/`` of the repository."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def packaged_configs() -> list[str]:
    """List the packaged experiments, relative to :func:`config_root`; not bases, suites, towers, captioners."""
    overlays = ("towers", "captioners")
    return _packaged(lambda path: not path.name.startswith(("_", "suite")) and path.parent.name not in overlays)


def packaged_towers() -> list[str]:
    """List the packaged tower overlays (``towers/*.yaml``), relative to :func:`config_root`."""
    return _packaged(lambda path: not path.name.startswith("_") and path.parent.name == "towers")


def packaged_suites() -> list[str]:
    """List the packaged suite files (``suite*.yaml``), relative to :func:`config_root`."""
    return _packaged(lambda path: path.name.startswith("suite"))


def _packaged(wanted: Callable[[Path], bool]) -> list[str]:
    root = config_root()
    return sorted(p.relative_to(root).as_posix() for p in root.glob("**/*.yaml") if wanted(p))


def find_config(name: str | os.PathLike, known: Sequence[str] | None = None) -> Path:
    """Find one config file by its path, or by its name among the packaged ones (``minicity/zero_shot.yaml``).

    Args:
        name: a path, a packaged name, or the former name of a packaged file (with a warning).
        known: names that an error message suggests. Default: those of :func:`packaged_configs`.

    Raises:
        ConfigError: there is no such file, or a former name now stands for several files.
    """
    found = _find(name, known)
    if len(found) > 1:
        files = " ".join(str(path) for path in found)
        raise ConfigError(f"'{name}' has been replaced by several files. Fix: name them in this order: {files}")
    return found[0]


def find_configs(names: str | os.PathLike | Sequence[str | os.PathLike]) -> list[Path]:
    """Find config files, in the order in which they are merged.

    Args:
        names: one name or several; each as in :func:`find_config`. A former name may stand for several files.

    Raises:
        ConfigError: a file does not exist.
    """
    return [path for name in config_names(names) for path in _find(name, None)]


def config_names(names: str | os.PathLike | Sequence[str | os.PathLike] | None) -> list[str]:
    """Return ``args.config_file``, which is one name or several, as a list; empty names are dropped."""
    listed = [names] if isinstance(names, (str, os.PathLike)) else names or []
    return [str(name) for name in listed if str(name)]


def _find(name: str | os.PathLike, known: Sequence[str] | None) -> list[Path]:
    path = Path(name).expanduser()
    if path.is_file():
        return [path]
    inside = Path(*path.parts[1:]) if path.parts[:1] == ("configs",) else path
    if path.is_absolute() and path.is_relative_to(config_root()):
        inside = path.relative_to(config_root())
    if not inside.is_absolute():
        if (config_root() / inside).is_file():
            return [config_root() / inside]
        replacement = renamed_file(inside.as_posix())
        if replacement:
            logger.warning(
                "The config file '%s' has been replaced: use --config-file %s",
                name,
                " ".join(f"configs/{new}" for new in replacement),
            )
            return [config_root() / new for new in replacement]
    known = packaged_configs() if known is None else known
    raise ConfigError(
        f"There is no config file '{name}', neither in {Path.cwd()} nor among the packaged ones."
        + (did_you_mean(inside.as_posix(), known) or f" Packaged: {', '.join(known)}.")
    )
