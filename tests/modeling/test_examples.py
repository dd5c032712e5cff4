"""The examples of docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import zsseg_d2.modeling
import zsseg_d2.text_cache

MODULES = [
    module.name
    for module in pkgutil.walk_packages(zsseg_d2.modeling.__path__, "zsseg_d2.modeling.")
    if not module.name.endswith("triton_kernels")  # imports Triton, which is optional
]


@pytest.mark.parametrize("name", [*MODULES, "zsseg_d2.text_cache"])
def test_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_docstrings_are_found():
    assert doctest.testmod(importlib.import_module("zsseg_d2.modeling.merging")).attempted > 5
