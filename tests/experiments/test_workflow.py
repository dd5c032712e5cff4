"""A whole suite with programs that take no time: order, restarts, changes, failures, Ctrl-C."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import portalocker
import psutil
import pytest

from tests.experiments import suite_stub
from tests.experiments.suite_stub import calls, interrupt_when, set_behaviour, wait_for, write_suite
from zsseg_d2 import experiments as program
from zsseg_d2.evaluation.panoptic.report import write_json
from zsseg_d2.experiments import job_record, machine
from zsseg_d2.experiments import program as program_module

ROOT = Path(__file__).resolve().parents[2]


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


def names(started):
    return [f"{call['run']} {call['seed']}" for call in started]


def test_every_run_is_run_once_after_what_it_needs(run, capfd):
    status, started = run("--jobs", "2")
    assert status == 0 and len(started) == 9 and "zero_shot 0" in names(started)[:2]
    order = names(started)
    for seed in "12":
        assert order.index(f"lower {seed}") < order.index(f"naive {seed}")
    assert max(order.index(n) for n in order if n[-1] == "1") < order.index("naive 2")
    output = capfd.readouterr().out
    assert "9 runs, 0 of them finished; 2 at a time" in output and "9/9" in output and "PQ All 38.0" in output
    assert run() == (0, [])
    assert "9 runs, 9 of them finished" in capfd.readouterr().out


def test_runs_work_side_by_side_with_their_share_of_the_cores(run, tools, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    set_behaviour(tools, **{name: {"wait": 0.4} for name in ("upper", "lower", "both")})
    status, started = run("--jobs", "3", "--seeds", "1", "--only", "upper", "lower", "both")
    assert status == 0 and {call["threads"] for call in started} == {"2"}
    assert started[-1]["start"] - started[0]["start"] < 1.6  # the last before the first, of 1.6 s, has ended


def test_a_failure_leaves_out_its_dependents_and_no_others(run, tools, capfd):
    set_behaviour(tools, lower={"fail": "the disk is full"})
    status, started = run("--seeds", "1")
    output = capfd.readouterr().out
    assert status == 1 and sorted(names(started)) == ["both 1", "lower 1", "upper 1", "zero_shot 0"]
    assert "lower, seed 1: FAILED (exit status 3)" in output and "    the disk is full" in output
    assert "naive, seed 1: left out, since it needs lower, seed 1" in output
    assert "Left out (seed 1): lower failed" in output and "Failed (seed 1): exit status 3" in output
    set_behaviour(tools)
    status, started = run("--seeds", "1")
    assert status == 0 and names(started) == ["lower 1", "naive 1"]
    folder = Path(started[0]["options"]["OUTPUT_DIR"])
    assert (
        job_record.read_record(folder)["attempts"] == 2 and "the disk is full" in (folder / job_record.LOG).read_text()
    )


def test_a_run_without_its_metrics_has_failed(run, tools, capfd):
    set_behaviour(tools, both={"silent": True})
    assert run("--seeds", "1")[0] == 1
    assert "both, seed 1: FAILED (it ended without inference/*/panoptic_quality.json)" in capfd.readouterr().out


def test_only_what_changed_and_what_builds_on_it_is_run_again(run, tmp_path, capfd):
    run("--seeds", "1")
    path, out = tmp_path / "suite.yaml", tmp_path / "out"
    text = path.read_text()
    changed = text.replace("- name: lower\n", "- name: lower\n  options: {SOLVER.BASE_LR: 0.5}\n")
    path.write_text(changed)
    capfd.readouterr()
    assert run("--seeds", "1", "--list") == (0, [])
    assert "SOLVER.BASE_LR was 0.0015, is 0.5" in capfd.readouterr().out
    status, started = run("--seeds", "1")
    assert status == 0 and names(started) == ["lower 1", "naive 1"] and not started[0]["resume"]
    output = capfd.readouterr().out
    assert "lower, seed 1: SOLVER.BASE_LR was 0.0015, is 0.5; the old folder is now" in output
    assert "naive, seed 1: the settings of lower changed; the old folder is now" in output
    assert {p.name for p in (out / "old").iterdir()} == {"seed_1_lower.1", "seed_1_naive.1"}
    # Back to the old settings: the old folders come back, and those of the new ones move aside.
    path.write_text(text)
    assert run("--seeds", "1") == (0, [])
    assert {p.name for p in (out / "old").iterdir()} == {"seed_1_lower.2", "seed_1_naive.2"}
    path.write_text(changed)
    assert run("--seeds", "1") == (0, [])


def test_what_builds_on_a_run_that_is_done_again_is_done_again(run, tmp_path):
    run("--seeds", "1")
    status, started = run("--seeds", "1", "--overwrite", "--only", "lower")
    assert status == 0 and names(started) == ["lower 1"]
    status, started = run("--seeds", "1")
    assert names(started) == ["naive 1"]
    status, started = run("--seeds", "1", "--overwrite", "--only", "lower", "naive")
    assert names(started) == ["lower 1", "naive 1"] and run("--seeds", "1") == (0, [])
    assert (tmp_path / "out" / "old" / "seed_1_lower.2").is_dir()


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
def made(run, tools, tmp_path, monkeypatch):
    """The manifest that the step of a suite of two runs makes; both have finished."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    manifest = tmp_path / "data" / "made" / "manifest.json"
    set_behaviour(tools, labels={"makes": str(manifest)})
    write_suite(tmp_path / "suite.yaml", runs=STEP, seeds=[1])
    assert names(run()[1]) == ["labels 0", "taught 1"]
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
    # Back to the old settings: its old folder comes back, but what it made is gone from the data sets.
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
    assert run("--list") == (1, []) and "run 'taught' says `leak_free: false`, but" in capfd.readouterr().err


def test_a_folder_of_something_else_is_moved_aside(run, tmp_path, capfd):
    folder = tmp_path / "out" / "seed_1" / "both"
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("precious")
    assert run("--seeds", "1", "--only", "both")[0] == 0
    assert (tmp_path / "out" / "old" / "seed_1_both.1" / "mine.txt").read_text() == "precious"
    assert "was not made by this suite" in capfd.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_gone_on_with(run, tools, tmp_path, capfd, number):
    handler = signal.getsignal(signal.SIGINT)
    set_behaviour(tools, both={"wait": 0.4})
    folder = tmp_path / "out" / "seed_1" / "both"
    words = ("--seeds", "1", "--jobs", "1", "--only", "both", "naive", "--jobs", "2")
    thread = interrupt_when((folder / "last_checkpoint").exists, number)
    status, started = run(*words)
    thread.join()
    output = capfd.readouterr().out
    assert status == 130 and signal.getsignal(signal.SIGINT) is handler
    assert "Stopping: the runs save what they have" in output and "The same command continues from here" in output
    assert job_record.read_record(folder)["status"] == "interrupted"
    done = int((folder / "last_checkpoint").read_text())
    assert 0 < done < 4 and len((folder / "metrics.json").read_text().splitlines()) >= done
    made = job_record.read_record(folder)["made"]
    status, started = run(*words)
    again = {call["run"]: call for call in started}
    assert status == 0 and again["both"]["resume"] and job_record.read_record(folder)["made"] == made
    assert job_record.read_record(folder)["attempts"] == 2 and job_record.read_record(folder)["seconds"] > 0.8
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "time" in line] == [0, 1, 2, 3]


def test_a_run_that_does_not_stop_is_killed_at_the_third_ctrl_c(run, tools, tmp_path):
    set_behaviour(tools, both={"wait": 100, "ignore": True})
    thread = interrupt_when(lambda: any(call["run"] == "both" for call in calls(tools)), times=3)
    start = time.monotonic()
    assert run("--seeds", "1", "--only", "both")[0] == 130
    thread.join()
    assert time.monotonic() - start < 100
    assert job_record.read_record(tmp_path / "out" / "seed_1" / "both")["status"] == "interrupted"


def test_a_run_that_outlived_its_suite_is_not_started_twice(run, tools, tmp_path, capfd):
    """The suite is killed; its run goes on, and is recognised when it has finished."""
    set_behaviour(tools, both={"wait": 0.5})
    words, folder = ("--seeds", "1", "--only", "both"), tmp_path / "out" / "seed_1" / "both"
    killed = multiprocessing.get_context("fork").Process(target=run, args=words)
    killed.start()
    wait_for(lambda: calls(tools))
    killed.kill()
    killed.join()
    assert run(*words)[0] == 1
    assert "still works in" in capfd.readouterr().err
    wait_for((folder / "run.json").exists)
    time.sleep(0.2)
    wait_for(lambda: not job_record.in_use(folder))
    assert job_record.read_record(folder)["status"] == "finished" and run(*words) == (0, [])


def comparable(output):
    """results.json without what no two suites have in common: times, and whether a run was resumed."""
    content = json.loads((output / "results.json").read_text())
    del content["made"]
    for run in content["runs"].values():
        for seed in run["seeds"].values():
            del seed["wall_seconds"]
            seed["command"] = [word.replace(str(output), "OUT") for word in seed["command"] if word != "--resume"]
    return content


@pytest.mark.parametrize("whole_tree", [True, False], ids=["machine", "suite"])
def test_results_do_not_depend_on_kill_9(tools, tmp_path, monkeypatch, whole_tree):
    """After a kill in the middle of a training, of it alone or of its children too, the same command has the same results."""
    path, undisturbed, out = (
        write_suite(tmp_path / "suite.yaml", seeds=[1]),
        tmp_path / "undisturbed",
        tmp_path / "killed",
    )
    monkeypatch.setattr(
        program_module, "write_report", lambda found, to: write_json(to / "results.json", found.as_json()) or to
    )
    assert program.main([str(path), "--jobs", "2", "--output", str(undisturbed)], tools=tools) == 0
    set_behaviour(tools, upper={"wait": 0.5}, lower={"wait": 0.5}, both={"wait": 0.5})
    words = [str(path), "--jobs", "2", "--output", str(out)]
    suite = multiprocessing.get_context("fork").Process(target=program.main, args=(words,), kwargs={"tools": tools})
    suite.start()
    wait_for((out / "seed_1" / "lower" / "last_checkpoint").exists)
    started = {process: " ".join(process.cmdline()) for process in psutil.Process(suite.pid).children(recursive=True)}
    assert any("job.py" in command for command in started.values())
    for process in [suite, *(started if whole_tree else [])]:
        process.kill()
    suite.join()
    snakemake = [process for process, command in started.items() if "--snakefile" in command]
    assert snakemake and not psutil.wait_procs(snakemake, timeout=60)[1]
    wait_for(lambda: not any(job_record.in_use(folder) for folder in out.glob("seed_1/*")))
    assert not (out / "seed_1" / "naive").exists(), "nothing more is started"
    assert program.main(words, tools=tools) == 0 and comparable(out) == comparable(undisturbed)
    resumed = {call["run"] for call in calls(tools) if call["resume"]}
    assert ("lower" in resumed) == whole_tree and not (ROOT / ".snakemake").exists() and not Path(".snakemake").exists()


def test_runs_at_the_same_time_have_a_gpu_each(run, tools, monkeypatch):
    monkeypatch.setattr(
        program_module, "places", lambda *_args, **_more: [machine.Place(3, "2"), machine.Place(3, "5")]
    )
    set_behaviour(tools, **{name: {"wait": 0.3} for name in ("upper", "lower", "both")})
    status, started = run("--seeds", "1", "--only", "upper", "lower", "both")
    assert status == 0 and {call["threads"] for call in started} == {"3"}
    assert {call["gpu"] for call in started[:2]} == {"2", "5"} and started[2]["gpu"] in ("2", "5")


def test_folders_without_snakemakes_own_files_are_recognised(run, tmp_path):
    """Those of earlier versions, or copied from elsewhere; what changed since is run again even so."""
    run("--seeds", "1")
    shutil.rmtree(tmp_path / "out" / ".snakemake")
    status, started = run("--seeds", "1", "SOLVER.BASE_LR", "0.3")
    assert status == 0 and sorted(names(started)) == ["both 1", "lower 1", "naive 1", "upper 1"]
    for marker in tmp_path.glob(f"out/*/*/{job_record.FINISHED}"):
        marker.unlink()
    shutil.rmtree(tmp_path / "out" / ".snakemake")
    assert run("--seeds", "1", "SOLVER.BASE_LR", "0.3") == (0, [])
    assert len(list(tmp_path.glob(f"out/*/*/{job_record.FINISHED}"))) == 5


def test_a_failure_of_snakemake_itself_is_told(run, capfd):
    assert run("--seeds", "1", "--", "--resources", "gpu=none")[0] == 1
    assert "error: Snakemake failed (exit status" in capfd.readouterr().err


def test_two_suites_do_not_work_in_one_folder(run, tmp_path, capfd):
    (tmp_path / "out").mkdir()
    with portalocker.Lock(tmp_path / "out" / ".lock", "w", flags=portalocker.LockFlags.EXCLUSIVE):
        assert run() == (1, [])
    assert "Another run_suite works in" in capfd.readouterr().err


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
