"""Relative links, images, anchors and named files in the Markdown files exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from .markdown import ROOT, anchors, blocks, links, pages, prose

PAGES = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages()]
HISTORY = ROOT / "CHANGELOG.md"  # names files that are gone


def test_pages_are_found():
    names = {str(page.relative_to(ROOT)) for page in pages()}
    assert {"README.md", "CONTRIBUTING.md", "docs/architecture.md", "datasets/README.md"} <= names
    assert sum(len(links(page)) for page in pages()) > 40


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    wrong = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or ROOT not in (target, *target.parents):
            wrong.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(target):
            wrong.append(f"{link}: no such heading")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", [p for p in PAGES if p.values[0] != HISTORY])
def test_named_files_exist(page):
    """Paths of the repository in prose and in commands."""
    text = prose(page) + "\n".join(block.code for block in blocks(page))
    named = re.findall(r"(?<![\w/.-])((?:zsseg_d2|tools|configs|tests|docs)/[\w/.-]+\.(?:py|yaml|md|png|jpg))\b", text)
    missing = sorted({name for name in named if not (ROOT / name).is_file()})
    assert not missing, f"{page.relative_to(ROOT)} names files that do not exist: {', '.join(missing)}"


def defined(path: Path) -> set[str]:
    """Return the functions and classes of a module, and methods as ``Class.method``."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{child.name}" for child in node.body if isinstance(child, ast.FunctionDef)}
    return names


@pytest.mark.parametrize("page", [p for p in PAGES if "::" in prose(p.values[0])])
def test_named_functions_exist(page):
    """``file::function`` or ``file::Class.method``, as in the walk of docs/architecture.md."""
    wrong = [
        f"{name}::{function}"
        for name, function in re.findall(r"`([\w/]+\.py)::([\w.]+)`", prose(page))
        if not (ROOT / name).is_file() or function not in defined(ROOT / name)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_walk_names_functions():
    text = prose(ROOT / "docs" / "architecture.md")
    assert len(re.findall(r"`[\w/]+\.py::[\w.]+`", text)) > 20


def test_faults_are_found(tmp_path):
    """The checks above would be worthless if their parsing missed links."""
    page = tmp_path / "page.md"
    page.write_text(
        'A [link](here.md#a-b) and ![image](x.png "title")\n\n# A `b`: *C*\n## Twice\n## Twice\n\n'
        "```\n[no](no.md)\n```\n"
    )
    assert links(page) == ["here.md#a-b", "x.png"]
    assert anchors(page) == {"a-b-c", "twice", "twice-1"}
    assert [(b.language, b.line) for b in blocks(page)] == [("", 8)]
