"""Where the scripts of ``tools/`` lie."""

from __future__ import annotations

from pathlib import Path


def scripts_folder() -> Path:
    """Return the folder of the scripts: ``zsseg_d2/tools`` if installed, else ``tools/`` of the repository."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "tools"
    return installed if installed.is_dir() else package.parent / "tools"
