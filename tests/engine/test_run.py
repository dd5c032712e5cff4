"""The program as a user starts it: messages, files, several processes, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from detectron2.engine import default_argument_parser

from tests.tiny import tiny_config
from zsseg_d2.engine import Trainer, run
from zsseg_d2.engine.launch import launch
from zsseg_d2.engine.run import run_process

from . import tiny_task

ROOT = Path(__file__).resolve().parents[2]


def arguments(folder: Path, *options):
    """Parsed arguments for the tiny task, writing below `folder`."""
    config = folder / "tiny.yaml"
    config.write_text(tiny_task.config(folder / "out").dump())
    return default_argument_parser().parse_args(["--config-file", str(config), *map(str, options)])


def in_two_processes(folder: Path, *options, count: int = 2) -> int:
    """Run the program in two or more (forked) processes; returns the exit status."""
    args = arguments(folder, "--num-gpus", count, *options)
    try:
        launch(run_process, args, "cpu")
    except SystemExit as stop:
        return stop.code
    return 0


def final_weights(folder: Path) -> dict:
    return torch.load(folder / "out" / "model_final.pth", weights_only=True)["model"]


def report(folder: Path) -> dict:
    return json.loads((folder / "out/inference/tiny_engine_val/panoptic_quality.json").read_text())


def test_several_processes_learn_what_one_learns(tiny_data, tmp_path):
    options = ("SOLVER.MAX_ITER", 4, "MODEL.MASK_FORMER.DROPOUT", 0.0, "SOLVER.IMS_PER_BATCH", 4)
    torch.manual_seed(3)  # as the first of several processes starts
    Trainer(tiny_task.config(tmp_path / "1" / "out", *options)).train()
    one = final_weights(tmp_path / "1")
    for count in (2, 4):
        folder = tmp_path / str(count)
        folder.mkdir()
        assert in_two_processes(folder, *options, count=count) == 0
        several = final_weights(folder)
        assert one.keys() == several.keys()
        for name, value in one.items():
            torch.testing.assert_close(several[name], value, rtol=1e-4, atol=1e-5)
        assert report(folder)["All"] == report(tmp_path / "1")["All"]


def test_fc_clip_trains_in_two_processes_and_resumes(tiny_data, tmp_path):
    """The real model: every trainable parameter takes part, and a checkpoint of it goes on to the last bit."""
    options = ["DATASETS.TRAIN", ("tiny_engine_train",), "DATASETS.TEST", ("tiny_engine_val",), "SEED", 1]
    options += ["INPUT.MIN_SIZE_TRAIN", (32,), "INPUT.MIN_SIZE_TEST", 32, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.STEPS", ()]
    options += ["SOLVER.WARMUP_ITERS", 0, "DATALOADER.NUM_WORKERS", 0, "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", False]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        rest = ["OUTPUT_DIR", str(tmp_path / folder / "out")]
        for last, resume in ((2, ()), (4, ("--resume",))) if folder == "one" else ((4, ()),):
            cfg = tiny_config(*options, *rest, "SOLVER.MAX_ITER", last)
            (tmp_path / folder / "fcclip.yaml").write_text(cfg.dump())
            flags = ["--config-file", str(tmp_path / folder / "fcclip.yaml"), "--num-gpus", "2", *resume]
            launch(run_process, default_argument_parser().parse_args(flags), "cpu")
    one, two = final_weights(tmp_path / "one"), final_weights(tmp_path / "two")
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_evaluation_writes_its_record(tiny_data, tmp_path, capfd):
    status = in_two_processes(
        tmp_path,
        "--eval-only",
        "DATASETS.TRAIN",
        "()",
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES",
        133,
        "SOLVER.IMS_PER_BATCH",
        1,
    )
    output = capfd.readouterr().out
    assert status == 0 and "Panoptic quality on tiny_engine_val (3 images)" in output
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["mode"] == "eval" and record["status"] == "finished" and record["metrics"]["panoptic_seg"]["PQ"] >= 0


def test_a_missing_file_is_one_message(tiny_data, tmp_path, capfd):
    assert in_two_processes(tmp_path, "--eval-only", "MODEL.WEIGHTS", "none.pth") == 1
    output = "".join(capfd.readouterr())
    assert "error: MODEL.WEIGHTS: there are no weights 'none.pth'" in output and "Traceback" not in output


def test_ctrl_c_stops_all_processes_and_resume_goes_on(tiny_data, tmp_path, capfd):
    args = arguments(tmp_path)  # writes the config file
    command = [sys.executable, "-m", "tests.engine.program", str(tmp_path), "--config-file", args.config_file]
    command += ["--num-gpus", "2", "SOLVER.MAX_ITER", "100000", "SEED", "-1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(tmp_path / "output.txt", "w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        metrics, deadline = tmp_path / "out" / "metrics.json", time.monotonic() + 120
        while not metrics.exists() or not metrics.read_text():
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "output.txt").read_text()
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    output = (tmp_path / "output.txt").read_text()
    assert process.returncode == 130 and "Traceback" not in output, output
    assert "Resume from the last checkpoint with:" in output and "--resume" in output
    first = json.loads((tmp_path / "out" / "run.json").read_text())
    assert first["status"] == "interrupted" and first["seed"] >= 0 and first["iterations"] > 0
    done = first["iterations"]
    assert (tmp_path / "out" / "last_checkpoint").read_text() == f"model_{done - 1:07d}.pth"
    assert in_two_processes(tmp_path, "--resume", "SOLVER.MAX_ITER", done + 2, "SEED", -1) == 0
    assert f"Starting training from iteration {done}" in capfd.readouterr().out
    second = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (second["status"], second["iterations"], second["resumed_at"]) == ("finished", done + 2, done)
    assert second["seed"] == first["seed"] and second["metrics"]["panoptic_seg"]["PQ"] >= 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--config-file", "minicity/zero_shott.yaml"], "Did you mean minicity/zero_shot.yaml"),
        (["--config-file", "minicity/zero_shot.yaml", "--num-gpus", "0"], "at least one process"),
        (["--config-file", "minicity/zero_shot.yaml", "SOLVER.BASE_LRR", "1"], "Did you mean SOLVER.BASE_LR"),
    ],
)
def test_mistakes_of_the_command_line_are_one_message(options, told):
    with pytest.raises(SystemExit, match=told):
        run(default_argument_parser().parse_args(["--eval-only", *options]))


def test_the_tool_runs_from_another_folder(tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "train_net.py"), "--config-file", "configs/minicity/zero_shot.yaml"]
    done = subprocess.run([*command, "SEEED", "1"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.strip() == "error: Unknown config key 'SEEED'. Did you mean SEED?"
