"""How runs end that cannot go on: a killed process, a worker, one that hangs, a divergence. One sentence each."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import time
from concurrent.futures.process import BrokenProcessPool

import portalocker
import pytest
import torch
from detectron2.engine import default_argument_parser
from detectron2.utils import comm

from zsseg_d2.engine import run
from zsseg_d2.engine.errors import CheckpointError, Diverged, ProcessLost, explanation
from zsseg_d2.engine.launch import _waiting, launch
from zsseg_d2.engine.training import loaders
from zsseg_d2.engine.training.divergence import check_losses
from zsseg_d2.engine.training.trainer import Trainer
from zsseg_d2.folder_lock import LOCK
from zsseg_d2.worker_pool import WorkerLost

from . import tiny_task

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="several processes on CPU; on GPUs they are Detectron2's")


def processes(count: int) -> argparse.Namespace:
    return argparse.Namespace(num_gpus=count, num_machines=1, machine_rank=0, dist_url="auto")


def work(_args) -> None:
    for _ in range(3):
        comm.synchronize()
    if comm.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    comm.all_gather(1)


def hang(_args) -> None:
    if comm.get_rank() == 2:
        time.sleep(60)
    comm.all_gather(1)


def say(_args) -> None:
    raise SystemExit("error: the same in every process")


def fail(_args) -> None:
    if comm.get_rank() == 1:
        raise ZeroDivisionError("a bug")
    comm.synchronize()


@on_cpu
def test_a_killed_process_is_named_with_the_likely_reason(capfd):
    with pytest.raises(ProcessLost, match=r"Process 1 \(pid \d+\) of the run was killed, .*ran out of memory\. Fix: "):
        launch(work, processes(3), "cpu")
    output = "".join(capfd.readouterr())
    assert "Traceback" not in output and "gloo" not in output


@on_cpu
def test_a_process_that_hangs_is_named_after_the_stated_time(capfd):
    start = time.monotonic()
    with pytest.raises(ProcessLost, match=r"Process 2 \(pid \d+\) .* ZSSEG\.PROCESS_TIMEOUT=6 seconds"):
        launch(hang, processes(3), "cpu", timeout=6)
    assert time.monotonic() - start < 50 and "Traceback" not in "".join(capfd.readouterr())


NOTICED = """

-- Process 3 terminated with the following error:
Traceback (most recent call last):
  File "torch/distributed/distributed_c10d.py", line 1, in all_gather
    work = group.allgather([tensor_list], [tensor])  # of a ProcessGroup
{}
"""


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("torch.distributed.DistBackendError: NCCL error in: x.cpp:1\nLast error:\nremote process exited", True),
        ("RuntimeError: Connection closed by peer [127.0.0.1]:1", True),
        ("ZeroDivisionError: a bug of ours, told of Socket Timeout", False),
        ("RuntimeError: shape mismatch", False),
    ],
)
def test_who_noticed_a_lost_process_is_named_where_nothing_more_is_known(end, told):
    error = torch.multiprocessing.ProcessRaisedException(NOTICED.format(end), 3, error_pid=77)
    with pytest.raises(ProcessLost if told else type(error)) as caught, _waiting(9):
        raise error
    text = r"Process 3 \(pid 77\) of the run lost another one, .* ZSSEG\.PROCESS_TIMEOUT=9 seconds\. Fix: "
    assert bool(re.match(text, str(caught.value))) == told


@on_cpu
def test_what_all_processes_say_is_said_once(capfd):
    with pytest.raises(SystemExit) as stop:
        launch(say, processes(3), "cpu")
    assert stop.value.code == 1 and capfd.readouterr().err.count("error: the same in every process") == 1


@on_cpu
def test_a_bug_keeps_its_traceback(capfd):
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="ZeroDivisionError: a bug"):
        launch(fail, processes(2), "cpu")


def program(cfg, *flags) -> None:
    path = f"{cfg.OUTPUT_DIR}.yaml"
    with open(path, "w") as file:
        file.write(cfg.dump())
    run(default_argument_parser().parse_args(["--config-file", path, *flags]))


@on_cpu
def test_a_killed_process_of_a_training_leaves_a_record(make_config, tmp_path, monkeypatch, capfd):
    step = Trainer.run_step

    def killed(trainer):
        if trainer.iter == 2 and comm.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        step(trainer)

    monkeypatch.setattr(Trainer, "run_step", killed)
    with pytest.raises(SystemExit, match=r"error: Process 1 .* was killed, .*--resume"):
        program(make_config(), "--num-gpus", "2")
    assert "Traceback" not in "".join(capfd.readouterr())
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("flags", [(), ("--eval-only",)])
def test_a_killed_loader_is_one_sentence(make_config, monkeypatch, capfd, flags):
    def killed(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(loaders.PanopticMapper, "__call__", killed)
    with pytest.raises(SystemExit, match=r"error: The process \d+, which loaded images, was killed, most likely"):
        program(make_config("DATALOADER.NUM_WORKERS", 1), *flags)
    assert "RuntimeError" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("flags", [(), ("--eval-only",)])
def test_damaged_images_are_one_sentence(make_config, tmp_path, capfd, flags, workers):
    """Each image is damaged, so that every process of a loader finds one."""
    tiny_task.register("tiny_engine_damaged", tmp_path / "damaged", 4)
    for path in (tmp_path / "damaged").glob("?.png"):
        path.write_bytes(path.read_bytes()[:-50])
    names = ("DATASETS.TRAIN", ("tiny_engine_damaged",), "DATASETS.TEST", ("tiny_engine_damaged",))
    with pytest.raises(
        SystemExit, match=r"^error: The image .*damaged/\d\.png is truncated or damaged .*; restore it .*$"
    ) as end:
        program(make_config(*names, "DATALOADER.NUM_WORKERS", workers), *flags)
    said = "".join(capfd.readouterr())
    assert "\n" not in str(end.value) and "Traceback" not in said and "truncated" not in said and "error:" not in said


def test_a_broken_pool_is_explained():
    assert "killed, most likely because the machine ran out of memory" in explanation(BrokenProcessPool("terminated"))
    lost = explanation(WorkerLost("rendered scenes", 7, "SIGSEGV"))
    assert lost.startswith("A worker process (pid 7), which rendered scenes, was ended by SIGSEGV, a crash of compiled")
    assert "which rendered scenes, ended without a word. Fix: " in explanation(WorkerLost("rendered scenes", 0, ""))
    assert explanation(RuntimeError("a bug")) is None


# divergence


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_losses_that_are_no_numbers_name_themselves_and_the_images(bad):
    losses = {"loss_ce": torch.tensor(1.0), "loss_dice": torch.tensor(bad)}
    with pytest.raises(Diverged, match=rf"in iteration 7: loss_dice is {bad}; images: a\.png, b\.png\. Fix: .*BASE_LR"):
        check_losses(losses, ["a.png", "b.png", "a.png"], 7)
    check_losses({"loss_ce": torch.tensor(1e30)}, [], 7)


def test_a_training_that_diverges_keeps_its_last_good_checkpoint(make_config, tmp_path, capfd):
    options = ("SOLVER.BASE_LR", 1e3, "SOLVER.WEIGHT_DECAY", 1e3, "SOLVER.CLIP_GRADIENTS.ENABLED", False)
    program(make_config("SOLVER.MAX_ITER", 2, "DATASETS.TEST", ()))
    good = (tmp_path / "out" / "model_final.pth").read_bytes()
    with pytest.raises(SystemExit, match=r"error: Training diverged.*Fix: "):
        program(make_config(*options, "SOLVER.MAX_ITER", 9, "SOLVER.CHECKPOINT_PERIOD", 1), "--resume")
    assert "FloatingPointError" not in "".join(capfd.readouterr())
    name = (tmp_path / "out" / "last_checkpoint").read_text()
    for path in (tmp_path / "out").glob("*.pth"):
        state = torch.load(path, weights_only=True)["model"]
        assert all(bool(torch.isfinite(value).all()) for value in state.values()), path.name
    assert (tmp_path / "out" / name).is_file() and (tmp_path / "out" / "model_final.pth").read_bytes() == good
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "failed"


def test_the_images_of_the_batch_are_those_that_were_seen(make_config, monkeypatch):
    trainer = Trainer(make_config("SOLVER.MAX_ITER", 1))
    seen = []

    def broken(batch):
        seen.extend(batch)
        return {"loss": torch.tensor(torch.nan, requires_grad=True)}

    monkeypatch.setattr(trainer.model, "forward", broken)
    with pytest.raises(Diverged) as caught:
        trainer.train()
    assert len(seen) == 2 and all(item["file_name"] in str(caught.value) for item in seen)


# resuming


@pytest.fixture
def stopped(make_config, tmp_path):
    """The folder of a training with two checkpoints."""
    program(make_config("SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2, "DATASETS.TEST", ()))
    return tmp_path / "out"


def contents(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != ".zsseg_d2.lock"}


def without(entry: str):
    def change(folder) -> None:
        content = torch.load(folder / "model_final.pth", weights_only=True)
        del content[entry]
        torch.save(content, folder / "model_final.pth")

    return change


def changed(change):
    def rewrite(folder) -> None:
        content = torch.load(folder / "model_final.pth", weights_only=True)
        change(content)
        torch.save(content, folder / "model_final.pth")

    return rewrite


def optimizer_of(content: dict) -> dict:
    return content["trainer"]["_trainer"]["optimizer"]


def poison(content: dict) -> None:
    optimizer_of(content)["state"][0]["exp_avg"].fill_(torch.nan)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda f: (f / "last_checkpoint").unlink(), "last_checkpoint is missing, but there are checkpoints"),
        (lambda f: (f / "last_checkpoint").write_text("../other/model_final.pth"), "does not hold a file name"),
        (lambda f: (f / "last_checkpoint").write_text("/etc/passwd"), "does not hold a file name"),
        (lambda f: (f / "last_checkpoint").write_text(""), "does not hold a file name"),
        (lambda f: (f / "last_checkpoint").write_bytes(b"\xff\xfe"), "is not UTF-8"),
        (lambda f: (f / "last_checkpoint").write_text("model_0000009.pth"), "names 'model_0000009.pth', which is not"),
        (lambda f: (f / "run.json").write_text("{"), "run.json: is not valid JSON"),
        (lambda f: (f / "run.json").write_text('{"mode": "train", "status": "x"}'), "'seed' is missing"),
        (lambda f: (f / "run.json").unlink(), "has no run.json, which holds the seed"),
        (without("trainer"), "holds weights, but no state of a training"),
        (changed(lambda c: c["trainer"].pop("_trainer")), "'_trainer' is missing"),
        (changed(lambda c: c["trainer"].update(iteration=-1)), "'iteration' is of the wrong type"),
        (changed(lambda c: c["trainer"].update(iteration=2)), "is of two iterations, 2 and 3"),
        (changed(lambda c: optimizer_of(c).pop("state")), "optimizer.state' is missing"),
        (changed(lambda c: optimizer_of(c)["state"].update({99: {}})), "more parameters than the model"),
        (changed(lambda c: optimizer_of(c)["state"][0].update(exp_avg=torch.ones(7))), r"has the shape \(7,\)"),
        (changed(poison), "is not finite"),
        (changed(lambda c: optimizer_of(c)["param_groups"].pop()), "optimizer does not belong"),
    ],
)
def test_a_resumed_training_trusts_nothing_and_overwrites_nothing(stopped, make_config, damage, told):
    damage(stopped)
    before = contents(stopped)
    with pytest.raises(SystemExit, match=rf"error: .*{told}.*Fix: "):
        program(make_config("SOLVER.MAX_ITER", 6, "SEED", -1, "DATASETS.TEST", ()), "--resume")
    after = contents(stopped)
    written = {name for name in after if after[name] != before.get(name) and not name.startswith("events.")}
    assert written <= {"config.yaml", "log.txt"} and before.keys() <= after.keys()


@pytest.mark.parametrize(("key", "value"), [("SEED", 4), ("SOLVER.IMS_PER_BATCH", 3)])
def test_another_stream_of_samples_is_refused(stopped, make_config, key, value):
    with pytest.raises(SystemExit, match=rf"error: --resume: {key} was . in .*, and is {value} now"):
        program(make_config(key, value), "--resume")


def test_the_final_checkpoint_is_written_if_it_is_missing(stopped, make_config, tmp_path):
    """What a kill leaves while it is written; and its bytes are those of a run that was not killed."""
    final = (stopped / "model_final.pth").read_bytes()
    for half in (False, True):
        (stopped / "model_final.pth").unlink()
        (stopped / "last_checkpoint").write_text("model_0000003.pth")
        (stopped / "metrics.json").write_text("")
        if half:
            (stopped / ".zsseg_d2-xyz.part").write_bytes(final[:1000])
        options = ("SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2)
        program(make_config(*options), "--resume")
        assert (stopped / "model_final.pth").read_bytes() == final
        assert (stopped / "last_checkpoint").read_text() == "model_final.pth"
        assert not list(stopped.glob(".*.part"))
        assert "panoptic_seg/PQ" in (stopped / "metrics.json").read_text()
        record = json.loads((stopped / "run.json").read_text())
        assert record["status"] == "finished" and record["iterations"] == 4 and record["metrics"]


def test_a_training_that_fails_at_its_start_leaves_the_config_of_the_weights(stopped, make_config):
    """... so that --resume goes on with the same labels only; without it, the checkpoint says itself what it saw."""
    other = ("DATASETS.TRAIN", ("tiny_engine_val",), "SOLVER.MAX_ITER", 6, "DATASETS.TEST", ())
    before = contents(stopped)
    with pytest.raises(SystemExit, match="there are no weights 'none.pth'"):
        program(make_config(*other, "MODEL.WEIGHTS", "none.pth"))
    for name in ("config.yaml", "last_checkpoint", "run.json"):
        assert (stopped / name).read_bytes() == before[name]
    with pytest.raises(SystemExit, match="error: --resume: DATASETS.TRAIN was .*tiny_engine_train.* now"):
        program(make_config(*other), "--resume")
    (stopped / "config.yaml").unlink()
    with pytest.raises(SystemExit, match="was trained on tiny_engine_train, and .* names tiny_engine_val now"):
        program(make_config(*other), "--resume")


def test_a_run_that_is_stopped_inside_an_iteration_counts_those_before(make_config, tmp_path, monkeypatch):
    step = Trainer.run_step

    def second_ctrl_c(trainer):
        if trainer.iter == 2:
            raise KeyboardInterrupt
        step(trainer)

    monkeypatch.setattr(Trainer, "run_step", second_ctrl_c)
    with pytest.raises(SystemExit) as stop:
        program(make_config("DATASETS.TEST", ()))
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert stop.value.code == 130 and (record["status"], record["iterations"]) == ("interrupted", 2)


def test_a_new_training_is_not_taken_for_the_old_one(stopped, make_config, monkeypatch):
    """Stopped before its first checkpoint, it starts anew on --resume, although old checkpoints are there."""

    def crash(_trainer):
        raise CheckpointError("stop")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_step", crash)
        with pytest.raises(SystemExit, match="stop"):
            program(make_config("SOLVER.MAX_ITER", 3, "DATASETS.TEST", ()))
    program(make_config("SOLVER.MAX_ITER", 3, "DATASETS.TEST", ()), "--resume")
    record = json.loads((stopped / "run.json").read_text())
    assert record["resumed_at"] is None and record["iterations"] == 3
    assert "model_0000003.pth" in record["earlier_checkpoints"]


def test_one_writer_a_folder(make_config, tmp_path):

    (tmp_path / "out").mkdir()
    with open(tmp_path / "out" / LOCK, "a+") as other:
        portalocker.lock(other, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
        other.write("a training (process 1)")
        other.flush()
        for flags in ((), ("--resume",), ("--eval-only",)):
            with pytest.raises(SystemExit, match=r"error: .*out: a training \(process 1\) is writing here"):
                program(make_config(), *flags)
        assert sorted(os.listdir(tmp_path / "out")) == [LOCK]
