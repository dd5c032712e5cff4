"""Modules of the user that register fusions, methods, datasets or evaluators, for programs of this package."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

VARIABLE = "ZSSEG_D2_PLUGINS"


def load_plugins() -> list[str]:
    """Import the modules that the environment variable ZSSEG_D2_PLUGINS names, each once.

    Entries are separated by commas: names of importable modules, or paths of ``.py`` files. Only the environment can
    name them, never a config file or a checkpoint, because importing a module runs its code.

    Returns:
        The entries.

    Raises:
        ImportError: A module cannot be imported; the message names it.
    """
    entries = [entry.strip() for entry in os.environ.get(VARIABLE, "").split(",") if entry.strip()]
    for entry in entries:
        try:
            _import(entry)
        except Exception as error:
            raise ImportError(f"{VARIABLE}={entry}: cannot be imported ({type(error).__name__}: {error}).") from error
    return entries


def _import(entry: str) -> None:
    if not entry.endswith(".py"):
        importlib.import_module(entry)
        return
    path = Path(entry).expanduser().resolve()
    name = f"zsseg_d2_plugin_{path.stem}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
