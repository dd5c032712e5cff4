"""Run a command of the package for a script in this folder."""

from __future__ import annotations

import sys
from pathlib import Path


def run(command: str) -> None:
    """Run ``zsseg-d2 command`` with the arguments of this process, and exit with its status."""
    try:
        from zsseg_d2_console import main
    except ModuleNotFoundError as error:
        raise SystemExit(not_installed(error)) from None
    sys.exit(main([command, *sys.argv[1:]], prog=Path(sys.argv[0]).name))


def not_installed(error: ModuleNotFoundError) -> str:
    """Return the message for a missing package; another module that is missing is an error of its own."""
    if error.name not in ("zsseg_d2", "zsseg_d2_console"):
        raise error
    return (
        "error: zsseg_d2 is not installed for this Python. Fix: run `make install` in the repository root, then "
        f"`.venv/bin/python {' '.join(sys.argv)}` (or `pip install -e .` in an environment of your own)"
    )
