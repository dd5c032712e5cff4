"""Generated folders: complete or absent, made once for any number of processes, never over files of others."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import portalocker

GENERATOR = "zsseg_d2.data.synthetic"
VERSION = 1  # raise when the same parameters give other files
MANIFEST = "manifest.json"


def read_manifest(folder: Path) -> dict | None:
    """Return the manifest of a folder that this package made, None for any other folder."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("generator") == GENERATOR else None


def is_complete(folder: Path, parameters: dict | None = None) -> bool:
    """Return whether this version made `folder` with `parameters` (None: any), and its files are still there."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.get("version") != VERSION or parameters not in (None, manifest.get("parameters")):
        return False
    return sum(len(files) for _, _, files in os.walk(folder)) >= manifest["files"]


def provide(folder: Path, parameters: dict, build: Callable[[Path], dict], *, reuse: bool) -> Path:
    """Make `folder` by calling `build` on a temporary sibling and renaming it into place.

    Args:
        parameters: what the contents follow from; kept in the manifest.
        build: fills an empty folder and returns further entries of the manifest.
        reuse: keep the folder if it is complete, instead of making it again.
    Raises:
        FileExistsError: `folder` holds something that this package did not make.
    """
    if reuse and is_complete(folder, parameters):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Blocking: a second process waits until the first has finished.
    with portalocker.Lock(folder.parent / f".{folder.name}.lock", "w", flags=portalocker.LockFlags.EXCLUSIVE):
        if reuse and is_complete(folder, parameters):  # another process was first
            return folder
        if folder.exists() and read_manifest(folder) is None and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(
                f"{folder} exists but was not made by {GENERATOR} (it has no {MANIFEST} of it). "
                "Fix: move or delete it, or choose another root."
            )
        partial, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
        for leftover in (partial, old):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir()
        try:
            manifest = {"generator": GENERATOR, "version": VERSION, "parameters": parameters, **build(partial)}
            manifest["files"] = sum(len(files) for _, _, files in os.walk(partial)) + 1
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
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
