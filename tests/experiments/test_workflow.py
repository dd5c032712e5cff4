"""A whole suite with programs that take no time: order, places, failures, changes."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tests.experiments.suite_stub import names, set_behaviour
from zsseg_d2.experiments import job_record, machine
from zsseg_d2.experiments import program as program_module


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


def test_a_finished_training_whose_weights_are_gone_resumes(run, capfd):
    _, started = run("--seeds", "1")
    folder = next(Path(call["options"]["OUTPUT_DIR"]) for call in started if call["run"] == "lower")
    (folder / "model_final.pth").unlink()
    capfd.readouterr()
    run("--report")
    assert re.search(r"lower .*39\.8 +65\.0 +2\.0", capfd.readouterr().out), "its figures are what they were"
    status, again = run("--seeds", "1")
    assert status == 0 and [(call["run"], call["resume"]) for call in again] == [("lower", True)]
    assert (folder / "model_final.pth").is_file()


def test_only_what_changed_and_what_builds_on_it_is_run_again(run, first_seed, tmp_path, capfd):
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


def test_what_builds_on_a_run_that_is_done_again_is_done_again(run, first_seed, tmp_path):
    status, started = run("--seeds", "1", "--overwrite", "--only", "lower")
    assert status == 0 and names(started) == ["lower 1"]
    status, started = run("--seeds", "1")
    assert names(started) == ["naive 1"]
    status, started = run("--seeds", "1", "--overwrite", "--only", "lower", "naive")
    assert names(started) == ["lower 1", "naive 1"] and run("--seeds", "1") == (0, [])
    assert (tmp_path / "out" / "old" / "seed_1_lower.2").is_dir()


def test_a_folder_of_something_else_is_moved_aside(run, tmp_path, capfd):
    folder = tmp_path / "out" / "seed_1" / "both"
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("precious")
    assert run("--seeds", "1", "--only", "both")[0] == 0
    assert (tmp_path / "out" / "old" / "seed_1_both.1" / "mine.txt").read_text() == "precious"
    assert "was not made by this suite" in capfd.readouterr().out


def test_runs_at_the_same_time_have_a_gpu_each(run, tools, monkeypatch):
    monkeypatch.setattr(
        program_module, "places", lambda *_args, **_more: [machine.Place(3, "2"), machine.Place(3, "5")]
    )
    set_behaviour(tools, **{name: {"wait": 0.3} for name in ("upper", "lower", "both")})
    status, started = run("--seeds", "1", "--only", "upper", "lower", "both")
    assert status == 0 and {call["threads"] for call in started} == {"3"}
    assert {call["gpu"] for call in started[:2]} == {"2", "5"} and started[2]["gpu"] in ("2", "5")


def test_folders_without_snakemakes_own_files_are_recognised(run, first_seed, tmp_path):
    """Those of earlier versions, or copied from elsewhere; what changed since is run again even so."""
    shutil.rmtree(tmp_path / "out" / ".snakemake")
    status, started = run("--seeds", "1", "SOLVER.BASE_LR", "0.3")
    assert status == 0 and sorted(names(started)) == ["both 1", "lower 1", "naive 1", "upper 1"]
    for marker in tmp_path.glob(f"out/*/*/{job_record.FINISHED}"):
        marker.unlink()
    shutil.rmtree(tmp_path / "out" / ".snakemake")
    assert run("--seeds", "1", "SOLVER.BASE_LR", "0.3") == (0, [])
    assert len(list(tmp_path.glob(f"out/*/*/{job_record.FINISHED}"))) == 5
