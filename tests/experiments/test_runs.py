"""From runs and seeds to commands, and which finished jobs still hold."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.experiments import suite_stub
from zsseg_d2.cli.run_suite import parse_arguments
from zsseg_d2.experiments import job_record, machine
from zsseg_d2.experiments.job_record import Action, State
from zsseg_d2.experiments.progress import Progress, in_words, iterations_done
from zsseg_d2.experiments.runs import make_jobs
from zsseg_d2.experiments.suite_file import load_suite
from zsseg_d2.experiments.workflow import _priorities


@pytest.fixture
def suite(tmp_path):
    return load_suite(suite_stub.write_suite(tmp_path / "suite.yaml"), suite_stub.write_tools(tmp_path / "tools"))


def by_title(suite, *args, **rest):
    return {job.title: job for job in make_jobs(suite, *args, **rest)}


def test_commands(suite, tmp_path):
    jobs = by_title(suite, (("TEST.EVAL_PERIOD", "2"), ("MODEL.DEVICE", "cpu")))
    assert list(jobs)[0] == "zero_shot" and len(jobs) == 9
    program, out = [sys.executable, str(tmp_path / "tools" / "train_net.py")], tmp_path / "out"
    assert jobs["lower, seed 2"].command_line(resume=True) == [
        *program,
        "--resume",
        "--config-file",
        "minicity/in_class_finetune.yaml",
        "SOLVER.MAX_ITER",
        "4",
        "TEST.EVAL_PERIOD",
        "2",
        "MODEL.DEVICE",
        "cpu",
        "SEED",
        "2",
        "OUTPUT_DIR",
        str(out / "seed_2" / "lower"),
    ]
    # What only training reads does not reach an evaluation; where nothing is random, no seed is given.
    assert list(jobs["zero_shot"].command) == [
        *program,
        "--config-file",
        "minicity/zero_shot.yaml",
        "--eval-only",
        "MODEL.DEVICE",
        "cpu",
        "OUTPUT_DIR",
        str(out / "once" / "zero_shot"),
    ]
    naive = jobs["naive, seed 1"]
    assert naive.options[:2] == ("ZSSEG.MODEL_TWO.WEIGHTS", str(out / "seed_1" / "lower" / "model_final.pth"))
    assert naive.needs == (jobs["lower, seed 1"],) and set(naive.origins) == {naive.folder, out / "seed_1" / "lower"}


def test_only_trainings_are_told_to_resume(suite):
    jobs = by_title(suite)
    assert "--resume" not in jobs["naive, seed 1"].command_line(resume=True)
    assert "--overwrite" not in jobs["lower, seed 1"].command_line(resume=False, overwrite=True)  # has no word for it


def test_what_a_run_makes_elsewhere(suite, tmp_path, monkeypatch):
    def made(text, **more):
        spec = replace(suite.run("zero_shot"), result=text, **more)
        changed = replace(suite, runs=(spec, *suite.runs[1:]))
        job = by_title(changed)["zero_shot"]
        assert job.fingerprint == by_title(suite)["zero_shot"].fingerprint  # says nothing about how it is made
        return job

    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    assert made("$DETECTRON2_DATASETS/x/manifest.json").result == tmp_path / "data" / "x" / "manifest.json"
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert made("$DETECTRON2_DATASETS/x").result == Path("datasets/x")
    assert made("{folder}/x").result == tmp_path / "out" / "once" / "zero_shot" / "x"
    monkeypatch.setenv("HOME", "/users/me")
    assert made("~/x").result == Path("/users/me/x")
    words = made("$HOME/x", overwrite_argument="--again").command_line(resume=False, overwrite=True)
    assert words[2] == "--again" and "--again" not in made("x", overwrite_argument="--again").command


def test_only_takes_what_is_needed_along(suite):
    assert list(by_title(suite, only=["naive"])) == ["lower, seed 1", "naive, seed 1", "lower, seed 2", "naive, seed 2"]


def test_what_changes_a_fingerprint(suite, tmp_path):
    def prints(changed, options=()):
        return {title: job.fingerprint for title, job in by_title(changed, options).items()}

    before = prints(suite)
    assert len(set(before.values())) == len(before)
    assert prints(replace(suite, output=tmp_path / "elsewhere")) == before
    assert prints(suite, (("DATALOADER.NUM_WORKERS", "0"), ("SOLVER.MAX_ITER", "4"))) == before
    longer = prints(suite, (("SOLVER.MAX_ITER", "5"),))
    assert {t for t in before if before[t] == longer[t]} == {"zero_shot"}  # naive builds on a training that changed
    lower = replace(suite.run("lower"), options=(("SOLVER.BASE_LR", "0.1"),))
    changed = prints(replace(suite, runs=tuple(lower if r.name == "lower" else r for r in suite.runs)))
    assert {t.split(",")[0] for t in before if before[t] != changed[t]} == {"lower", "naive"}


def test_a_config_file_that_changes_is_noticed(suite, tmp_path):
    config = tmp_path / "own.yaml"
    runs = tuple(replace(r, config=str(config)) if r.name == "both" else r for r in suite.runs)
    own = replace(suite, runs=runs)
    config.write_text("_BASE_: base.yaml")
    (tmp_path / "base.yaml").write_text("SOLVER: {WEIGHT_DECAY: 0.1}")
    before = by_title(own)["both, seed 1"].fingerprint
    (tmp_path / "base.yaml").write_text("SOLVER: {WEIGHT_DECAY: 0.2}")
    assert by_title(own)["both, seed 1"].fingerprint != before


@pytest.mark.parametrize(
    ("words", "only", "seeds", "options"),
    [
        ("s.yaml", None, None, []),
        ("s.yaml SOLVER.MAX_ITER 3", None, None, ["SOLVER.MAX_ITER", "3"]),
        ("s.yaml --only a b SOLVER.MAX_ITER 3", ["a", "b"], None, ["SOLVER.MAX_ITER", "3"]),
        ("s.yaml --only a --seeds 1 2 DATASETS.TEST ('x',)", ["a"], [1, 2], ["DATASETS.TEST", "('x',)"]),
        ("--seeds 5 --jobs 1 s.yaml", None, [5], []),
    ],
)
def test_command_lines(words, only, seeds, options):
    args = parse_arguments(words.split())
    assert (args.suite, args.only, args.seeds, args.options) == ("s.yaml", only, seeds, options)


def test_seeds_are_numbers(capsys):
    with pytest.raises(SystemExit) as stop:
        parse_arguments(["s.yaml", "--seeds", "one"])
    assert stop.value.code == 2 and "error: --seeds must be whole numbers, but are one." in capsys.readouterr().err


def test_places(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    monkeypatch.setattr(machine, "usable_memory_gb", lambda: 10.0)
    by_memory = machine.places(None, memory_gb=3, on_cuda=False)
    assert len(by_memory) == 3 and by_memory[0].threads == 2
    assert len(machine.places(None, memory_gb=0.1, on_cuda=False)) == 8
    assert len(machine.places(None, memory_gb=99, on_cuda=False)) == 1
    assert [p.threads for p in machine.places(16, memory_gb=3, on_cuda=False)] == [1] * 16
    monkeypatch.setattr(machine, "visible_gpus", lambda: ["3", "5"])
    assert [p.gpu for p in machine.places(None, memory_gb=3, on_cuda=True)] == ["3", "5"]
    assert [p.gpu for p in machine.places(3, memory_gb=3, on_cuda=True)] == ["3", "5", "3"]
    with pytest.raises(ValueError, match="--jobs must be positive"):
        machine.places(0, memory_gb=3, on_cuda=False)


def test_the_machine_as_it_is():
    assert machine.usable_cores() >= 1 and machine.usable_memory_gb() > 0


def test_time_left(suite, monkeypatch):
    jobs = by_title(suite)
    waiting = [jobs[f"{name}, seed 1"] for name in ("upper", "lower", "naive", "both")]

    def left(places, **finished):
        for title, seconds in finished.items():
            done = jobs[title.replace("_2", ", seed 2")]
            done.folder.mkdir(parents=True, exist_ok=True)
            job_record.write_record(done.folder, {"seconds": seconds})
        states = {job: State(Action.START if job in waiting else Action.NONE) for job in jobs.values()}
        follow = Progress(states, session="now", places=places, iterations={"both": 100}, result=lambda job: "")
        follow.look()
        return follow._left()

    assert left(1) == "time left not known yet"
    # The mean of two trainings, three times; nothing is known of evaluations.
    assert left(1, lower_2=100.0, upper_2=200.0) == "more than 7 min 30 s left"
    assert left(1, zero_shot=10.0) == "about 7 min 40 s left"
    assert left(2) == "about 3 min 50 s left" and left(9) == "about 1 min 55 s left"  # 4 jobs
    both = jobs["both, seed 1"]
    both.folder.mkdir(parents=True)
    running = {"session": "now", "status": "running", "seconds": 0.0, "resumed": False, "replaced": None}
    job_record.write_record(both.folder, running)
    assert left(9) == "about 2 min 30 s left"  # the one that works takes longest
    (both.folder / "metrics.json").write_text('{"iteration": 24}\n')
    clock = iter(range(0, 1000, 50))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    assert left(9) == "about 2 min 30 s left"  # 25 of 100 iterations in 50 s
    monkeypatch.setattr("time.monotonic", lambda: 0.0)


def test_what_others_wait_for_starts_first(suite):
    jobs = make_jobs(suite)
    priorities = _priorities(jobs)
    order = [job.title for job in sorted(jobs, key=lambda job: -priorities[job.key])]
    assert order[:3] == ["zero_shot", "lower, seed 1", "upper, seed 1"] and order[4] == "naive, seed 1"
    assert order[5:] == [title.replace("1", "2") for title in order[1:5]]


def test_iterations_done(tmp_path):
    assert iterations_done(tmp_path) == 0
    (tmp_path / "metrics.json").write_text(
        '{"iteration": 19, "time": 1.0}\n{"iteration": 9, "panoptic_seg/PQ": 3}\n{"iter'
    )
    assert iterations_done(tmp_path) == 20


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min"), (130, "2 min 10 s"), (11100, "3 h 5 min")]
)
def test_durations_in_words(seconds, words):
    assert in_words(seconds) == words
