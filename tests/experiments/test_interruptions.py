"""Ctrl-C, kills and what is left of them, with programs that take no time."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.experiments.suite_stub import (
    calls,
    interrupt_when,
    run_program,
    set_behaviour,
    wait_for,
    write_suite,
    write_tools,
)
from zsseg_d2.evaluation.panoptic.report import write_json
from zsseg_d2.experiments import job_record
from zsseg_d2.experiments import program as program_module

ROOT = Path(__file__).resolve().parents[2]


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
    if number == signal.SIGTERM:
        return  # what it left is the same
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
    """The suite is killed; its run continues, and is recognized when it has finished."""
    go_on = tmp_path / "go_on"
    set_behaviour(tools, both={"until": str(go_on)})
    words, folder = ("--seeds", "1", "--only", "both"), tmp_path / "out" / "seed_1" / "both"
    killed = multiprocessing.get_context("fork").Process(target=run, args=words)
    killed.start()
    wait_for(lambda: calls(tools))
    killed.kill()
    killed.join()
    assert run(*words)[0] == 1
    assert "still running in" in capfd.readouterr().err
    go_on.touch()
    wait_for((folder / "run.json").exists)
    time.sleep(0.2)
    wait_for(lambda: not job_record.in_use(folder))
    assert job_record.read_record(folder)["status"] == "finished" and run(*words) == (0, [])


def commands_below(pid):
    """Return the command lines of the processes below one, without those that end meanwhile."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            found[process] = " ".join(process.cmdline())
    return found


def comparable(output):
    """results.json without what no two suites have in common: times, and whether a run was resumed."""
    content = json.loads((output / "results.json").read_text())
    del content["made"]
    for run in content["runs"].values():
        for seed in run["seeds"].values():
            del seed["wall_seconds"]
            words = [word.replace(str(output), "OUT") for word in seed["command"] if word != "--resume"]
            seed["command"] = [word.replace(str(output.parent), "HERE") for word in words]
    return content


def write_results(found, folder):
    write_json(folder / "results.json", found.as_json())
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a suite that nobody kills."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path, tools = write_suite(folder / "suite.yaml", seeds=[1]), write_tools(folder / "tools")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZSSEG_D2_CACHE", str(folder / "cache"))
        patch.setattr(program_module, "write_report", write_results)
        assert run_program([str(path), "--jobs", "2", "--output", str(folder / "out")], tools) == 0
    return folder / "out"


@pytest.mark.parametrize("whole_tree", [True, False], ids=["machine", "suite"])
def test_results_do_not_depend_on_kill_9(undisturbed, tools, tmp_path, monkeypatch, whole_tree):
    """Killed in the middle of a training, alone or with its children, the same command ends with the same results."""
    path, out = write_suite(tmp_path / "suite.yaml", seeds=[1]), tmp_path / "killed"
    monkeypatch.setattr(program_module, "write_report", write_results)
    go_on = tmp_path / "go_on"
    set_behaviour(tools, upper={"wait": 0.5}, lower={"until": str(go_on)}, both={"wait": 0.5})
    words = [str(path), "--jobs", "2", "--output", str(out)]
    suite = multiprocessing.get_context("fork").Process(target=run_program, args=(words, tools))
    suite.start()
    wait_for((out / "seed_1" / "lower" / "last_checkpoint").exists)
    started = commands_below(suite.pid)
    assert any("job.py" in command for command in started.values())
    suite.kill()
    for process in started if whole_tree else []:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    suite.join()
    snakemake = [process for process, command in started.items() if "--snakefile" in command]
    assert snakemake and not psutil.wait_procs(snakemake, timeout=60)[1]
    go_on.touch()
    wait_for(lambda: not any(job_record.in_use(folder) for folder in out.glob("seed_1/*")))
    assert not (out / "seed_1" / "naive").exists(), "nothing more is started"
    assert run_program(words, tools) == 0 and comparable(out) == comparable(undisturbed)
    resumed = {call["run"] for call in calls(tools) if call["resume"]}
    assert ("lower" in resumed) == whole_tree and not (ROOT / ".snakemake").exists() and not Path(".snakemake").exists()
