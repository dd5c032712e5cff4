"""The layers of docs/architecture.md: which room may import which, and no import circles anywhere."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "zsseg_d2"
NAME = PACKAGE.name

# Files, words and registries, for every room.
BASE = frozenset(
    (
        "class_names",
        "compat",
        "errors",
        "files",
        "folder_lock",
        "lemmas",
        "plugins",
        "process",
        "reading",
        "registry",
        "suggestions",
        "tensor_files",
        "vocabulary",
        "worker_pool",
    )
)
CORE = BASE | {"config", "class_sets"}

# What a room may import, besides itself. A room is a subpackage or a module at the top of the package.
ALLOWED: dict[str, frozenset[str]] = {
    **dict.fromkeys(BASE, BASE),
    "config": BASE,
    "class_sets": BASE | {"data"},
    "text_cache": BASE,
    "data": BASE,
    "modeling": BASE,
    "auto_vocabulary": BASE | {"modeling"},
    "evaluation": BASE | {"data"},
    "meta_arch": CORE | {"modeling", "auto_vocabulary", "text_cache"},
    "engine": CORE | {"data", "modeling", "auto_vocabulary", "meta_arch", "evaluation", "text_cache"},
    "experiments": CORE | {"data", "evaluation", "engine"},
    "page": CORE | {"data", "meta_arch", "evaluation", "engine"},
    "cli": CORE | {"data", "modeling", "auto_vocabulary", "meta_arch", "evaluation", "engine", "experiments", "page"},
    "__main__": frozenset({"cli"}),
    # zsseg_d2/__init__.py: registers everything; of the engine it knows the type of Predictor, imported when used.
    "": BASE | {"config", "data", "modeling", "meta_arch", "engine"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(name: str) -> Iterator[tuple[str, int]]:
    """Yield the package's modules that a module imports, at its top or inside a function, and the line.

    ``from package import submodule`` imports the submodule; ``from zsseg_d2 import __version__`` imports nothing.
    """
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                target = f"{source}.{alias.name}" if f"{source}.{alias.name}" in MODULES else source
                if target in MODULES and not (target == NAME and alias.name == "__version__"):
                    yield target, node.lineno


def of_types(name: str) -> set[int]:
    """Return the lines of a module that only type checkers read."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"]
    return {line for block in blocks for node in block.body for line in range(node.lineno, (node.end_lineno or 0) + 1)}


def room(name: str) -> str:
    return (name.split(".") + [""])[1]


def test_the_walker_sees_every_kind_of_import():
    """Top level, lazy, absolute and of a submodule; else the tests below would see nothing."""
    seen = {(name, target) for name in MODULES for target, _ in imports(name)}
    assert len(seen) > 300
    assert ("zsseg_d2", "zsseg_d2.data") in seen, "from . import data"
    assert any(room(name) == "meta_arch" and target.startswith(f"{NAME}.modeling.fcclip.") for name, target in seen)
    assert any(room(name) == "engine" and target.startswith(f"{NAME}.evaluation") for name, target in seen), "lazy"


@pytest.mark.parametrize("of", sorted({room(name) for name in MODULES}))
def test_arrows_point_downward(of):
    assert of in ALLOWED, f"zsseg_d2/{of} is new: add it to ALLOWED and to docs/architecture.md."
    wrong = [
        f"{MODULES[name].relative_to(PACKAGE.parent)}:{line} imports {target}"
        for name in MODULES
        if room(name) == of
        for target, line in imports(name)
        if target != NAME and room(target) != of and room(target) not in ALLOWED[of]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_import_circles():
    """Also none by imports inside functions, which only hide a circle; types of the package's own names are free."""
    free = of_types(NAME)
    graph = {
        name: {target for target, line in imports(name) if not (name == NAME and line in free)} - {name}
        for name in MODULES
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def foreign_imports(text: str) -> list[int]:
    """Return the lines on which a plain form imports the package, or what may import it: other tests, by name."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            sources = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            level = getattr(node, "level", 0)
            if level or any(source.split(".")[0] in (NAME, "tests", "importlib") for source in sources):
                found.append(node.lineno)
        elif isinstance(node, ast.Name) and node.id == "__import__":
            found.append(node.lineno)
    return found


def test_plain_forms_import_nothing_that_they_judge():
    """But for ``model.py``, which puts them into the package's model and so has to import it."""
    folder = Path(__file__).parent / "plain"
    files = sorted(path for path in folder.rglob("*.py") if path != folder / "model.py")
    assert len(files) > 4
    assert not [(path.name, line) for path in files for line in foreign_imports(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    "text",
    [
        f"import {NAME}",
        f"import math, {NAME}.modeling as m",
        f"from {NAME}.modeling.points import uncertain_points",
        f"def f():\n    from {NAME} import config",
        "from . import model",
        "from .model import plain_forms",
        "from tests.tiny import WORDS",
        "import importlib",
        f"m = __import__('{NAME}')",
    ],
)
def test_every_way_to_import_the_package_is_seen(text):
    assert foreign_imports(text) == [text.count("\n") + 1]
    assert not foreign_imports(f'"""As {NAME} has it."""\nimport torch\nfrom torch import Tensor')
