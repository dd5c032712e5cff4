"""Modules of the user that register fusions, methods, datasets or evaluators, for programs of this package."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

VARIABLE = "ZSSEG_D2_PLUGINS"


class PluginError(ImportError):
    """A module of the user that cannot be imported; the message names it."""


def load_plugins(named: Iterable[str] = ()) -> list[str]:
    """Import the modules that ``--import`` and the environment variable ZSSEG_D2_PLUGINS name, each once.

    Only the command line and the environment can name them, never a config file, a suite file or a checkpoint, because
    importing a module runs its code. Processes that this one starts import the same modules.

    Args:
        named: what ``--import`` names: importable modules, or paths of ``.py`` files. The variable holds the same,
            separated by commas.

    Returns:
        The entries of the variable, then the named ones.

    Raises:
        PluginError: a module cannot be imported; the message names it.
    """
    entries = [entry.strip() for entry in os.environ.get(VARIABLE, "").split(",") if entry.strip()]
    added = [entry for entry in map(_absolute, named) if entry not in entries]
    for source, listed in ((f"{VARIABLE}=", entries), ("--import ", added)):
        for entry in listed:
            try:
                _import(entry)
            except Exception as error:
                raise PluginError(
                    f"{source}{entry}: cannot be imported ({type(error).__name__}: {error}). Fix: name a module that "
                    "`python -c 'import …'` finds, or the path of a .py file."
                ) from error
    if added:
        os.environ[VARIABLE] = ",".join([*entries, *added])  # inherited by the processes that this one starts
    return [*entries, *added]


def _absolute(entry: str) -> str:
    return str(Path(entry).expanduser().absolute()) if entry.endswith(".py") else entry


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
