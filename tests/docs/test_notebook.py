"""The notebook of docs/ runs from top to bottom, and what its cells show can be shown."""

from __future__ import annotations

import ast
import json

import pytest

from .markdown import ROOT

NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_cells_run(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4 and len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    names: dict = {}
    shown = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert not cell["outputs"], "outputs are not kept"
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, str(path), "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), str(path), "eval"), names))
    pictures = [value._repr_png_() for value in shown if hasattr(value, "_repr_png_")]
    assert len(pictures) >= 2 and all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert pictures[0] != pictures[1], "other words, another picture"


def test_there_is_one():
    assert NOTEBOOKS
