"""Generated folders: complete or absent, made once for any number of processes, never over files of others."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ...folder_lock import replacing
from ...reading import MB, UnusableFile, printable, read_json
from ..paths import is_relative_inside

GENERATOR = "zsseg_d2.data.synthetic"
VERSION = 1  # raise when the same parameters give other files
MANIFEST = "manifest.json"
FILES = "files.json"
"""The names of all files, relative to the folder. Folders of earlier versions have none, but the number of files."""
LIMIT = 64 * MB

logger = logging.getLogger(__name__)


class _Manifest(msgspec.Struct):
    version: int
    parameters: dict[str, int]
    files: int


def read_manifest(folder: Path) -> dict | None:
    """Return the manifest of a folder that this package made, None for any other folder.

    Raises:
        UnusableFile: the manifest is damaged.
    """
    path = folder / MANIFEST
    remedy = f"move or delete {printable(folder)}, or choose another root"
    try:
        manifest = read_json(path, limit=LIMIT, remedy=remedy)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not isinstance(manifest, dict) or manifest.get("generator") != GENERATOR:
        return None
    try:
        msgspec.convert(manifest, _Manifest)
    except msgspec.ValidationError as error:
        raise UnusableFile(f"{printable(path)}: {error}. Fix: {remedy}.") from None
    return manifest


def is_complete(folder: Path, parameters: Mapping[str, int] | None = None) -> bool:
    """Return whether this version made `folder` with `parameters` (None: any), and its files are still there.

    Raises:
        UnusableFile: see :func:`read_manifest`.
    """
    manifest = read_manifest(folder)
    if manifest is None or manifest["version"] != VERSION or parameters not in (None, manifest["parameters"]):
        return False
    names, found = _listed(folder), _found(folder)
    return len(found) >= manifest["files"] if names is None else names <= found


def parameters_of(folder: Path, default: Mapping[str, int]) -> dict[str, int]:
    """Return the parameters that a folder was made with, `default` if it is not there.

    Raises:
        UnusableFile: the manifest is damaged, or has parameters of another name than `default`.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return dict(default)
    if set(manifest["parameters"]) != set(default):
        raise UnusableFile(
            f"{printable(folder / MANIFEST)}: the parameters are not {', '.join(default)}. "
            f"Fix: move or delete {printable(folder)}, or choose another root."
        )
    return manifest["parameters"]


def provide(
    folder: Path, parameters: Mapping[str, int], build: Callable[[Path], dict[str, Any]], *, reuse: bool
) -> Path:
    """Make `folder` by calling `build` on a temporary sibling and renaming it into place.

    Args:
        folder: what to make.
        parameters: what the contents follow from; kept in the manifest.
        build: fills an empty folder and returns further entries of the manifest.
        reuse: keep the folder if it has these parameters, and make only files again that it lacks.

    Returns:
        `folder`.

    Raises:
        FileExistsError: `folder` holds something that this package did not make, and would have to be replaced.
        UnusableFile: see :func:`read_manifest`.
    """
    if reuse and is_complete(folder, parameters):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder, "a rendering"):
        if reuse and is_complete(folder, parameters):  # another process was first
            return folder
        manifest = read_manifest(folder)
        same = manifest is not None and (manifest["version"], manifest["parameters"]) == (VERSION, parameters)
        repair = reuse and same
        if not repair:
            _check_replaceable(folder, manifest)
        partial, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
        for leftover in (partial, old):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir()
        try:
            _fill(partial, parameters, build)
            if repair:
                _add_missing(partial, folder)
                return folder
            if folder.exists():
                folder.rename(old)
            partial.rename(folder)
        finally:
            if old.exists() and not folder.exists():  # interrupted between the two renames
                with suppress(OSError):
                    old.rename(folder)
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
    return folder


def _fill(folder: Path, parameters: Mapping[str, int], build: Callable[[Path], dict[str, Any]]) -> None:
    """Write all files of a folder, and last the manifest."""
    manifest = {"generator": GENERATOR, "version": VERSION, "parameters": parameters, **build(folder)}
    names = sorted(_found(folder))
    (folder / FILES).write_text(json.dumps(names, indent=0) + "\n")
    manifest["files"] = len(names) + 2
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def _add_missing(complete: Path, folder: Path) -> None:
    """Move the files that `folder` lacks there; whatever else it holds stays as it is."""
    missing = sorted(_found(complete) - _found(folder))
    for name in missing:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(complete / name, target)
    logger.warning("%s: %d files were missing and were made again.", printable(folder), len(missing))


def _check_replaceable(folder: Path, manifest: Mapping | None) -> None:
    """Refuse to replace files of others.

    Raises:
        FileExistsError: there are some.
    """
    remedy = "Fix: move or delete it, or choose another root."
    if manifest is None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(
                f"{printable(folder)} exists but was not made by {GENERATOR} (it has no {MANIFEST} of it). {remedy}"
            )
        return
    names, found = _listed(folder), _found(folder)
    foreign = sorted(found - names - {FILES, MANIFEST}) if names is not None else []
    if foreign:
        raise FileExistsError(
            f"{printable(folder)} would be replaced, but holds files that {GENERATOR} did not make, such as "
            f"{printable(foreign[0])}. {remedy}"
        )
    if names is None and len(found) != manifest["files"]:
        raise FileExistsError(
            f"{printable(folder)} would be replaced, but it holds {len(found)} files and not the {manifest['files']} "
            f"that {GENERATOR} made. {remedy}"
        )


def _listed(folder: Path) -> set[str] | None:
    """Return the names in a folder's list of files, None if there is no usable list."""
    try:
        names = set(read_json(folder / FILES, list[str], limit=LIMIT))
    except (FileNotFoundError, UnusableFile):
        return None
    return names if all(map(is_relative_inside, names)) else None


def _found(folder: Path) -> set[str]:
    """Return the names of all files below a folder, relative to it."""
    return {Path(parent, name).relative_to(folder).as_posix() for parent, _, names in os.walk(folder) for name in names}
