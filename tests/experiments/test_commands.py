"""Steps whose results lie outside the suite's folder, and what the command line refuses before any work."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiments.suite_stub import calls, names, set_behaviour, write_suite
from zsseg_d2.experiments import job_record

ROOT = Path(__file__).resolve().parents[2]

STEP = [
    {
        "name": "labels",
        "tool": "step.py",
        "config": "minicity/zero_shot.yaml",
        "seeds": "once",
        "result": "$DETECTRON2_DATASETS/made/manifest.json",
        "overwrite_argument": "--overwrite",
    },
    {"name": "taught", "config": "minicity/in_class_finetune.yaml", "needs": ["labels"]},
]


@pytest.fixture
def made(run, tools, finished_once, tmp_path, monkeypatch):
    """The manifest that the step of a suite of two runs makes; both have finished."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    manifest = tmp_path / "data" / "made" / "manifest.json"
    set_behaviour(tools, labels={"makes": str(manifest)})
    write_suite(tmp_path / "suite.yaml", runs=STEP, seeds=[1])
    there = finished_once(
        "made", lambda folder: {"labels": {"makes": str(folder / "data" / "made" / "manifest.json")}}, runs=STEP
    )
    assert names(calls(there / "tools")) == ["labels 0", "taught 1"]
    for name in ("out", "data"):
        shutil.copytree(there / name, tmp_path / name)
    return manifest


@pytest.mark.parametrize("what", ["is gone", "has changed"])
def test_a_step_whose_result_is_lost_is_done_again(run, made, tmp_path, capfd, what):
    """Those that built on it had the same: they stay."""
    if what == "is gone":
        shutil.rmtree(made.parent)
    else:
        made.write_text('{"splits": {"train": {"arguments": {}, "note": "by another program"}}}')
    capfd.readouterr()
    folder = tmp_path / "out" / "once" / "labels"
    before = job_record.read_record(folder)
    assert run("--list") == (0, [])
    listed = {line.split()[0]: line for line in capfd.readouterr().out.splitlines()}
    assert f"to resume {made} {what}" in " ".join(listed["labels"].split()) and " finished " in listed["taught,"]
    status, started = run()
    assert status == 0 and names(started) == ["labels 0"] and not started[0]["resume"] and not started[0]["overwrite"]
    assert made.is_file() and job_record.read_record(folder)["made"] == before["made"] and run() == (0, [])


def test_a_step_that_refuses_says_why_until_it_may_overwrite(run, made, tmp_path, capfd):
    path = tmp_path / "suite.yaml"
    surer = {**STEP[0], "options": {"ZSSEG.PSEUDO_LABELS.MIN_SCORE": 0.9}}
    write_suite(path, runs=[surer, STEP[1], {**STEP[1], "name": "later", "needs": ["taught"]}], seeds=[1])
    status, started = run()
    output = capfd.readouterr().out
    told = f"exit status 1: {made.parent} was made with other arguments; give --overwrite to replace it."
    assert status == 1 and names(started) == ["labels 0"] and f"labels: FAILED ({told})" in output
    assert job_record.read_record(tmp_path / "out" / "once" / "labels")["message"] == told
    assert f"Left out (seed 1): labels failed ({told})." in output and "later, seed 1: left out" in output
    assert run("--dry-run", "--overwrite", "--only", "labels") == (0, [])
    assert "step.py --overwrite --config-file" in capfd.readouterr().out
    status, started = run("--overwrite", "--only", "labels")
    assert status == 0 and names(started) == ["labels 0"] and started[0]["overwrite"]
    status, started = run()
    assert status == 0 and names(started) == ["taught 1", "later 1"] and not started[0]["overwrite"]
    # Back to the old settings: its old folder comes back, but what it made is gone from the datasets.
    write_suite(path, runs=STEP, seeds=[1])
    status, started = run()
    assert status == 1 and names(started) == ["labels 0"] and "was made with other arguments" in capfd.readouterr().out


def test_a_new_suite_may_overwrite_what_is_there(run, made, tmp_path):
    shutil.rmtree(tmp_path / "out")
    made.write_text('{"splits": {"train": {"arguments": "others"}}}')
    status, started = run("--overwrite")
    assert status == 0 and [call["overwrite"] for call in started] == [True, False]


def test_what_is_missing_is_told_before_any_work(run, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    real = {"DATASETS.TEST": "('openvocab_cityscapes_fine_panoptic_val',)"}
    write_suite(
        tmp_path / "suite.yaml", runs=[{**STEP[1], "needs": []}, {**STEP[1], "name": "b", "needs": [], "options": real}]
    )
    assert run() == (1, [])
    error = capfd.readouterr().err
    assert error.startswith(
        "error: run 'b': DATASETS.TEST: openvocab_cityscapes_fine_panoptic_val: There is no folder "
    )
    assert str(tmp_path / "nowhere" / "cityscapes") in error and error.count("\n") == 1
    write_suite(tmp_path / "suite.yaml", runs=[{**STEP[1], "needs": [], "leak_free": False}])
    assert run("--list") == (1, []) and "run 'taught' has `leak_free: false`, but" in capfd.readouterr().err


def test_a_dry_run_prints_commands_and_does_nothing(run, tmp_path, capfd):
    assert run("--seeds", "1", "--dry-run", "--only", "naive") == (0, [])
    output = capfd.readouterr().out.splitlines()
    assert (
        output[0] == "# lower, seed 1: to do"
        and "train_net.py --config-file minicity/in_class_finetune.yaml" in output[1]
    )
    assert output[2] == "# naive, seed 1: to do" and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--only", "nieve"], "--only: there is no run 'nieve'. Did you mean naive?"),
        (["--seeds", "1", "1"], "--seeds must be different whole numbers"),
        (["SOLVER.MAX_ITR", "3"], "Unknown config key 'SOLVER.MAX_ITR'"),
        (["SEED", "3"], "SEED is set by the suite"),
        (["SOLVER.MAX_ITER"], "Options are KEY VALUE pairs, but there are 1 words"),
        (["--jobs", "0"], "--jobs must be positive"),
    ],
)
def test_mistakes_of_the_command_line_are_one_message(run, capfd, words, told):
    assert run(*words) == (1, [])
    error = capfd.readouterr().err
    assert error.startswith("error: ") and told in error and error.count("\n") == 1


def test_the_tool_runs_from_another_folder(tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "run_suite.py"), "minicity/suite.yaml", "--only", "nobody"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.startswith("error: --only: there is no run 'nobody'.")


def test_a_failure_of_snakemake_itself_is_told(run, capfd):
    assert run("--seeds", "1", "--", "--resources", "gpu=none")[0] == 1
    assert "error: Snakemake failed (exit status" in capfd.readouterr().err
