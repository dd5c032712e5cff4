"""A suite file is data: no code that it names or that lies beside it runs. Reports touch their own files alone."""

from __future__ import annotations

import hashlib
import json
import sys

import pytest
import yaml

from tests.experiments.suite_stub import calls, run_program
from zsseg_d2.engine.errors import ConfigError
from zsseg_d2.experiments.report_files import ReportFiles
from zsseg_d2.experiments.runs import make_jobs
from zsseg_d2.experiments.suite_file import ENVIRONMENT, load_suite
from zsseg_d2.plugins import VARIABLE

RUN = {"name": "a", "config": "minicity/zero_shot.yaml", "eval_only": True, "seeds": "once"}


@pytest.fixture
def write(tmp_path):
    """``write(runs)`` -> path of a suite file."""

    def make(*runs, **keys):
        path = tmp_path / "data" / "suite.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump({"output": str(tmp_path / "out"), "runs": list(runs), **keys}))
        return path

    return make


def test_a_program_beside_the_suite_file_is_not_run(write, tools, tmp_path):
    path = write(RUN)
    (path.parent / "train_net.py").write_text("open('canary', 'w')")
    assert load_suite(path, tools).runs[0].tool == tools / "train_net.py"


@pytest.mark.parametrize("tool", ["evil.py", "./evil.py", "{folder}/evil.py", "../data/evil.py", "sub/train_net.py"])
def test_programs_are_named_not_found_by_path(write, tools, tmp_path, monkeypatch, tool):
    path = write({**RUN, "tool": tool.replace("{folder}", str(tmp_path / "data"))})
    (path.parent / "sub").mkdir()
    for name in ("evil.py", "sub/train_net.py"):
        (path.parent / name).write_text("")
    monkeypatch.chdir(path.parent)
    with pytest.raises(ConfigError, match="there is no program .* of this project.*--tool NAME=PATH"):
        load_suite(path, tools)


@pytest.mark.parametrize(
    "name", ["PYTHONPATH", "PYTHONSTARTUP", "LD_PRELOAD", "ZSSEG_D2_PLUGINS", "PATH", "HOME", "omp_num_threads", "A\n"]
)
def test_the_environment_takes_threads_and_devices_alone(write, tools, name):
    assert not ENVIRONMENT.fullmatch(name)
    with pytest.raises(ConfigError, match="may set threads and CUDA devices alone"):
        load_suite(write({**RUN, "environment": {name: "x"}}), tools)


def test_threads_and_devices_may_be_set(write, tools):
    given = {"OMP_NUM_THREADS": 1, "CUDA_VISIBLE_DEVICES": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    assert load_suite(write({**RUN, "environment": given}), tools).runs[0].environment["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    "changes",
    [
        {"arguments": ["--import", "evil.py"]},
        {"arguments": ["--import=evil.py"]},
        {"arguments": ["--imp", "evil.py"]},
        {"arguments": ["{output}"], "output": "--import=x"},
        {"options": {"--import": "evil.py"}},
        {"options": {"OUT": "--import"}},
        {"overwrite_argument": "--import=evil.py"},
    ],
)
def test_words_of_a_suite_file_import_nothing(write, tools, changes):
    keys = {"output": changes.pop("output")} if "output" in changes else {}
    suite = load_suite(write({**RUN, "tool": "step.py", **changes}, **keys), tools)
    with pytest.raises(ConfigError, match="a suite file names no code"):
        make_jobs(suite)


def test_a_program_of_ones_own_trains_and_has_a_row(write, tools, tmp_path, capfd, monkeypatch):
    """Settings of the suite and modules that the command line names reach it, and its scores are in the table."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data_sets"))
    monkeypatch.setenv(VARIABLE, "")  # restored afterwards
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_loss.py").write_text("NAMED = True\n")
    (tmp_path / "mine.py").write_text((tools / "train_net.py").read_text())
    (tmp_path / "behaviour.json").write_text("{}")
    path = write(
        {"name": "upper", "config": "minicity/full_finetune.yaml", "tool": "my_method"},
        options={"SOLVER.MAX_ITER": 4, "SOLVER.STEPS": "()"},
        seeds=[1],
    )
    suite = load_suite(path, tools, {"my_method": tmp_path / "mine.py"})
    assert suite.runs[0].trains and suite.runs[0].has_row
    (job,) = make_jobs(suite)
    assert job.command[1] == str(tmp_path / "mine.py") and "SOLVER.MAX_ITER" in job.options
    words = [str(path), "--tool", f"my_method={tmp_path / 'mine.py'}", "--import", "my_loss.py"]
    assert run_program(words, tools) == 0
    assert [call["run"] for call in calls(tmp_path)] == ["upper"] and not calls(tools)
    assert calls(tmp_path)[0]["plugins"] == str(tmp_path / "my_loss.py")
    assert sys.modules.pop("zsseg_d2_plugin_my_loss").NAMED
    cells = next(line for line in capfd.readouterr().out.splitlines() if line.startswith("upper ")).split()
    assert cells[1:4] == [
        "54.6",
        "63.0",
        "42.0",
    ]  # of the stub with seed 1: In 62 + 1, Out 40 + 2, three and two classes
    with pytest.raises(SystemExit, match="--tool x: there is no such file"):
        from zsseg_d2.cli import run_suite

        run_suite.main([str(path), "--tool", "x"], tools=tools)


def test_a_finished_run_without_a_row_is_said(write, tools, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data_sets"))
    path = write({**RUN, "name": "zero_shot", "tool": "step.py"})
    assert run_program([str(path)], tools) == 0
    assert "Finished, but without a row: zero shot. A row needs `metrics`" in capfd.readouterr().out


def report(folder, **files):
    with ReportFiles(folder) as draft:
        for name, text in files.items():
            path = draft.draft / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        draft.publish()


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_a_report_replaces_and_removes_its_own_files_alone(tmp_path):
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "holiday.png").write_text("mine")
    report(tmp_path, plots__old="1", both="1")
    report(tmp_path, plots__new="2", both="2")
    found = tree(tmp_path)
    kept = json.loads(found.pop(".suite/report.json"))["files"]
    assert found == {"plots/holiday.png": "mine", "plots/new": "2", "both": "2"}
    assert kept == {"both": hashlib.sha256(b"2").hexdigest(), "plots/new": hashlib.sha256(b"2").hexdigest()}


@pytest.mark.parametrize("edited", [False, True])
def test_a_report_replaces_no_file_of_others(tmp_path, edited):
    if edited:
        report(tmp_path, both="1")
    (tmp_path / "both").write_text("mine")
    with pytest.raises(ConfigError, match="both: no report wrote this file as it is.*Fix: move it away"):
        report(tmp_path, both="2")
    assert (tmp_path / "both").read_text() == "mine" and not list((tmp_path / ".suite").glob("report.*[!n]"))


def test_a_report_that_was_cut_off_is_replaced(tmp_path, monkeypatch):
    report(tmp_path, one="1", two="1")
    import os

    moves = []

    def replace(source, target):
        moves.append(target)
        if str(target).endswith("two"):
            raise KeyboardInterrupt
        return rename(source, target)

    rename = os.rename
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("zsseg_d2.experiments.report_files.os.replace", replace)
        report(tmp_path, one="2", two="2")
    report(tmp_path, one="3", two="3")
    assert tree(tmp_path)["one"] == tree(tmp_path)["two"] == "3"


def test_a_note_of_others_stays_where_a_report_would_be(tmp_path, tools, write, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data_sets"))
    (tmp_path / "out" / "plots").mkdir(parents=True)
    for name in ("results.md", "plots/holiday.png", "plots/classes.png"):
        (tmp_path / "out" / name).write_text("mine")
    assert run_program([str(write(RUN)), "--report"], tools) == 1
    assert all(
        (tmp_path / "out" / name).read_text() == "mine"
        for name in ("results.md", "plots/holiday.png", "plots/classes.png")
    )
