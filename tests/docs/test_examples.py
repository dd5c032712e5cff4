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


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> dict[Path, str]:
    """The output of each page's blocks, and of a page that fails."""
    output = tmp_path_factory.mktemp("blocks")
    failing = output / "failing.md"
    failing.write_text("```python\nx = 1\n```\n\n```python\nprint(x)\n```\n")
    run = [*EXAMPLES, failing]
    environment = {**os.environ, "ZSSEG_D2_CACHE": str(output / "cache")}
    environment.pop("DETECTRON2_DATASETS", None)  # datasets are rendered in the page's own folder
    command = [sys.executable, str(RUN), str(output), *map(str, run)]
    subprocess.run(command, cwd=output, env=environment, check=True, timeout=900)
    return {page: (output / f"{number}.log").read_text() for number, page in enumerate(run)}


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in EXAMPLES])
def test_blocks_run(page, logs):
    expected = [f"ran line {block.line}" for block in blocks(page) if block.language == "python"]
    assert [line for line in logs[page].splitlines() if line.startswith("ran line ")] == expected, logs[page]


def test_a_failing_block_is_seen(logs):
    (log,) = (log for page, log in logs.items() if page.name == "failing.md")
    assert log.startswith("ran line 2\n") and "ran line 6" not in log
    assert 'failing.md", line 6' in log and "NameError" in log, "and blocks share no names"


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted and not result.failed


def test_the_pure_functions_have_examples():
    for name in ("panoptic.panoptic_counts", "panoptic.report", "referring.metrics", "smoothness.statistics"):
        assert f"zsseg_d2.evaluation.{name}" in MODULES
