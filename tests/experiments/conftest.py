"""Fixtures of suites with programs that take no time."""

from __future__ import annotations

import pytest

from tests.experiments import suite_stub
from tests.experiments.suite_stub import calls, write_suite
from zsseg_d2 import experiments as program
from zsseg_d2.experiments import program as program_module


@pytest.fixture
def tools(tmp_path):
    return suite_stub.write_tools(tmp_path / "tools")


@pytest.fixture
def run(tools, tmp_path, monkeypatch):
    """``run(*words)`` -> (exit status, calls since the last time)."""
    monkeypatch.setattr(program_module, "write_report", lambda results, folder: folder / "results.md")
    path = write_suite(tmp_path / "suite.yaml")
    told = [0]

    def start(*words):
        status = program.main([str(path), *words], tools=tools)
        new = calls(tools)[told[0] :]
        told[0] = len(calls(tools))
        return status, new

    return start
