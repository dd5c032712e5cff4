"""Fixtures of suites with programs that take no time."""

from __future__ import annotations

import shutil

import pytest

from tests.experiments import suite_stub
from tests.experiments.suite_stub import calls, run_program, write_suite
from zsseg_d2.experiments import program as program_module
from zsseg_d2.experiments.gather import gather
from zsseg_d2.experiments.runs import make_jobs
from zsseg_d2.experiments.suite_file import load_suite


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
        status = run_program([str(path), *words], tools)
        new = calls(tools)[told[0] :]
        told[0] = len(calls(tools))
        return status, new

    return start


@pytest.fixture
def results(finished):
    """What a finished suite has to say; ``finished`` is (folder, tools, file of the suite), of each module."""
    _, tools, path = finished
    suite = load_suite(path, tools)
    return gather(suite, make_jobs(suite))


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory):
    """``finished_once(name, tools=…, **keys of the suite)`` -> the folder of a suite that ran once for all tests."""
    folders = {}

    def finish(name, tools=None, **keys):
        if name not in folders:
            folder = tmp_path_factory.mktemp(name)
            behaviour = tools(folder) if tools else {}
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ZSSEG_D2_CACHE", str(folder / "cache"))
                patch.setenv("DETECTRON2_DATASETS", str(folder / "data"))
                patch.setattr(program_module, "write_report", lambda results, to: to / "results.md")
                stubs = suite_stub.write_tools(folder / "tools", **behaviour)
                path = write_suite(folder / "suite.yaml", seeds=[1], **keys)
                assert run_program([str(path), "--jobs", "2"], stubs) == 0
            folders[name] = folder
        return folders[name]

    return finish


@pytest.fixture
def first_seed(finished_once, run, tmp_path):
    """The suite of `run`, finished with seed 1."""
    return shutil.copytree(finished_once("first_seed") / "out", tmp_path / "out")
