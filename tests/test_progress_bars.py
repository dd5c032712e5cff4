"""Progress bars are drawn on terminals only: in a file they would run across the output."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from zsseg_d2.data.synthetic.workers import run

PACKAGE = Path(__file__).resolve().parents[1] / "zsseg_d2"


def bars() -> list[tuple[str, ast.Call]]:
    """Every call of tqdm in the package, with its place."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "tqdm":
                found.append((f"{path.name}:{node.lineno}", node))
    return found


def test_every_bar_says_when_it_is_drawn():
    """tqdm draws by default wherever standard error leads; None leaves it out where that is no terminal."""
    assert len(bars()) > 8
    for place, call in bars():
        assert any(keyword.arg == "disable" for keyword in call.keywords), place


@pytest.mark.parametrize("workers", [1, 2])
def test_no_bar_in_a_file(capfd, workers):
    assert run(abs, [-1, -2, -3], "numbers", workers) == [1, 2, 3]
    assert capfd.readouterr().err == ""
