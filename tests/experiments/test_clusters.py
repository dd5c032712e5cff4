"""A suite on a cluster: what Snakemake's plugin for Slurm submits; jobs run and stop there as they do here."""

from __future__ import annotations

import json
import os

import pytest

from tests.experiments import fake_slurm, suite_stub
from tests.experiments.suite_stub import calls, interrupt_when, run_program, set_behaviour, write_suite
from zsseg_d2.cli.run_suite import parse_arguments
from zsseg_d2.experiments import job_record
from zsseg_d2.experiments import program as program_module

pytest.importorskip("snakemake_executor_plugin_slurm", reason="the plugin is not installed: pip install -e .[test]")


def test_words_for_snakemake():
    given = "s.yaml SOLVER.MAX_ITER 3 --executor slurm --slurm-qos=long --seeds 1 -- --default-resources runtime=60"
    args = parse_arguments(given.split())
    assert args.executor == "slurm" and args.seeds == [1] and args.options == ["SOLVER.MAX_ITER", "3"]
    assert args.for_snakemake == ["--slurm-qos=long", "--default-resources", "runtime=60"]
    with pytest.raises(SystemExit):  # a typing mistake is not passed on
        parse_arguments(["s.yaml", "--slurm-qos=long"])


def test_jobs_are_submitted_stopped_and_gone_on_with(tmp_path, monkeypatch, capfd):
    jobs = fake_slurm.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(program_module, "write_report", lambda results, folder: folder / "results.md")
    tools = suite_stub.write_tools(tmp_path / "tools", both={"wait": 1.0})
    path, both = write_suite(tmp_path / "suite.yaml"), tmp_path / "out" / "seed_1" / "both"
    words = [str(path), "--seeds", "1", "--only", "both", "--executor", "slurm"]
    words += ["--slurm-init-seconds-before-status-checks=1", "--", "--seconds-between-status-checks", "1"]
    words += ["--default-resources", "slurm_account=me", "slurm_partition=long", "cpus_per_task=4"]
    thread = interrupt_when((both / "last_checkpoint").exists)
    assert run_program(words, tools) == 130
    thread.join()
    suite_stub.wait_for(lambda: not job_record.in_use(both))
    assert job_record.read_record(both)["status"] == "interrupted" and not (both / job_record.FINISHED).exists()
    submitted = fake_slurm.submissions(jobs)
    wrapped = next(call for call in submitted if "rule_seed_1_both" in call)
    assert wrapped[wrapped.index("-p") + 1] == "long" and wrapped[wrapped.index("--mem") + 1] == "2048"
    assert "--cpus-per-task=4" in wrapped and "Snakefile" in wrapped[-1] and f"plan={tmp_path / 'out'}" in wrapped[-1]
    assert not list(tmp_path.glob(".snakemake")) and "by Snakemake (" in capfd.readouterr().out

    set_behaviour(tools)
    assert run_program(words, tools) == 0
    again = [call for call in calls(tools) if call["run"] == "both"]
    assert [call["resume"] for call in again] == [False, True] and again[0]["threads"] == str(
        len(os.sched_getaffinity(0))
    )
    assert again[0]["gpu"] == os.environ.get("CUDA_VISIBLE_DEVICES")
    assert json.loads((both / job_record.FINISHED).read_text())["run"] == "both"
    assert "1/1 both, seed 1: finished" in capfd.readouterr().out
