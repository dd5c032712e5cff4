"""The ``python`` blocks of the pages run as they are, and the examples in docstrings print what they say.

A block that is not to be run is fenced as ``py``.
"""

from __future__ import annotations

import doctest
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .markdown import ROOT, blocks, pages

RUN = Path(__file__).with_name("run_blocks.py")
EXAMPLES = [page for page in pages() if any(block.language == "python" for block in blocks(page))]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "zsseg_d2").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def run(page: Path, folder: Path) -> subprocess.CompletedProcess:
    """Run a page's blocks in another process, since they register things, in a folder where ``configs`` is at hand."""
    (folder / "configs").symlink_to(ROOT / "configs")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "DETECTRON2_DATASETS": str(folder / "datasets"),
        "ZSSEG_D2_CACHE": str(folder / "cache"),
    }
    command = [sys.executable, str(RUN), str(page)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in EXAMPLES])
def test_blocks_run(page, tmp_path):
    done = run(page, tmp_path)
    assert done.returncode == 0, done.stderr
    expected = [f"ran line {block.line}" for block in blocks(page) if block.language == "python"]
    assert [line for line in done.stdout.splitlines() if line.startswith("ran line ")] == expected


def test_a_failing_block_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```python\nprint(x)\n```\n")
    done = run(page, tmp_path)
    assert done.returncode != 0 and 'page.md", line 6' in done.stderr and "NameError" in done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted and not result.failed


def test_the_pure_functions_have_examples():
    for name in ("panoptic.panoptic_counts", "panoptic.report", "referring.metrics", "smoothness.statistics"):
        assert f"zsseg_d2.evaluation.{name}" in MODULES
