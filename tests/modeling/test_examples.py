"""The examples of docstrings and of the page on extending the model run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import zsseg_d2.modeling
import zsseg_d2.text_cache

ROOT = Path(__file__).resolve().parents[2]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(zsseg_d2.modeling.__path__, "zsseg_d2.modeling.")
    if not module.name.endswith("triton_kernels")  # imports Triton, which is optional
]
PAGE = (ROOT / "docs" / "extending_modeling.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*MODULES, "zsseg_d2.text_cache"])
def test_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_docstrings_are_found():
    assert doctest.testmod(importlib.import_module("zsseg_d2.modeling.merging")).attempted > 5


@pytest.mark.parametrize("code", re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.S | re.M))
def test_page(code):
    exec(compile(code, "extending_modeling.md", "exec"), {"__name__": "example"})
