"""A headless Chromium of the system, driven by Playwright; without one, tests are skipped and say so."""

from __future__ import annotations

import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str:
    """Return the path of the browser: $ZSSEG_D2_CHROMIUM, or one of `NAMES`."""
    found = os.environ.get("ZSSEG_D2_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        pytest.skip("there is no Chromium: apt-get install chromium, or set ZSSEG_D2_CHROMIUM")
    return found


def launch(playwright, path: str):
    """Start the browser; as root, its sandbox cannot work."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if root else [])
