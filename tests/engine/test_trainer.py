"""Training from start to end, stopped and resumed, on a model that trains in a second."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from detectron2.engine import hooks

from zsseg_d2.engine.errors import CheckpointError
from zsseg_d2.engine.run_record import RunRecord, recorded_seed
from zsseg_d2.engine.training.hooks import Interrupted
from zsseg_d2.engine.training.trainer import Trainer


def train(cfg, resume=False, at=None, do=None):
    """Train; before iteration `at`, call `do`."""
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    if at is not None:
        trainer.register_hooks([hooks.CallbackHook(before_step=lambda t: do() if t.iter == at else None)])
    trainer.rates = []
    trainer.register_hooks(
        [hooks.CallbackHook(before_step=lambda t: t.rates.append(t.optimizer.param_groups[0]["lr"]))]
    )
    results = trainer.train()
    return trainer, results


def weights(trainer) -> list[torch.Tensor]:
    return [p.detach().clone() for p in trainer.model.parameters()]


def equal(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def test_training_learns_evaluates_and_writes_its_files(make_config, tmp_path):
    cfg = make_config(
        "SOLVER.MAX_ITER", 30, "SOLVER.BASE_LR", 0.05, "ZSSEG.VIS_IMAGES", 2, "SOLVER.CHECKPOINT_PERIOD", 20
    )
    trainer, results = train(cfg)
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.json").read_text().splitlines()]
    losses = [line["total_loss"] for line in lines if "total_loss" in line]
    assert losses[-1] < 1.2
    assert results["panoptic_seg"]["PQ"] > 20
    files = set(os.listdir(tmp_path / "out"))
    assert {"model_0000019.pth", "model_final.pth", "last_checkpoint", "metrics.json", "inference"} <= files
    inference = tmp_path / "out" / "inference" / "tiny_engine_val"
    report = json.loads((inference / "panoptic_quality.json").read_text())
    assert report["All"]["PQ"] == pytest.approx(results["panoptic_seg"]["PQ"]) and report["Out"]["n"] >= 1
    assert sorted(os.listdir(inference / "visualizations")) == ["image_0.png", "image_1.png"]


def test_the_frozen_part_stays(make_config):
    trainer, _ = train(make_config())
    fresh = Trainer(make_config())
    for name, parameter in trainer.model.named_parameters():
        assert parameter.requires_grad != name.startswith("backbone.clip_model")
    assert not any(p.grad is not None for p in trainer.model.backbone.parameters())
    assert not equal(trainer, fresh)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(make_config, workers):
    common = ("DATALOADER.NUM_WORKERS", workers, "TEST.EVAL_PERIOD", 0)
    torch.manual_seed(0)
    whole, results = train(make_config(*common, "SOLVER.MAX_ITER", 6, output="whole"))
    torch.manual_seed(0)
    stop = make_config(*common, "SOLVER.MAX_ITER", 6, output="parts")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        train(stop, at=2, do=lambda: os.kill(os.getpid(), signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is before
    with open(os.path.join(stop.OUTPUT_DIR, "last_checkpoint")) as file:
        assert file.read() == "model_0000002.pth"
    torch.manual_seed(99)  # nothing may hang on this
    parts, again = train(stop, resume=True)
    assert parts.start_iter == 3 and len(parts.rates) == 3
    assert equal(whole, parts) and results == again
    states = [t.optimizer.state_dict()["state"] for t in (whole, parts)]
    for key, state in states[0].items():
        assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(states[1][key][n])) for n, v in state.items())


def test_a_longer_run_on_resume_follows_the_new_schedule(make_config):
    poly = ("SOLVER.POLY_LR_POWER", 1.0, "SOLVER.BASE_LR", 0.01)
    first, _ = train(make_config(*poly, "SOLVER.MAX_ITER", 4))
    assert first.rates == pytest.approx([0.01, 0.0075, 0.005, 0.0025])
    second, _ = train(make_config(*poly, "SOLVER.MAX_ITER", 8), resume=True)
    assert second.start_iter == 4 and second.rates == pytest.approx([0.005, 0.00375, 0.0025, 0.00125])
    again, _ = train(make_config(*poly, "SOLVER.MAX_ITER", 8), resume=True)
    assert again.rates == [] and equal(again, second)  # nothing left to do: evaluates only


def test_a_constant_rate_makes_a_longer_run_equal_to_one_planned_so(make_config):
    """With no schedule, 3 iterations and then 3 more are 6 iterations, to the last bit."""
    common = ("SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR")
    torch.manual_seed(0)
    whole, _ = train(make_config(*common, "SOLVER.MAX_ITER", 6, output="whole"))
    torch.manual_seed(0)
    train(make_config(*common, "SOLVER.MAX_ITER", 3, output="parts"))
    parts, _ = train(make_config(*common, "SOLVER.MAX_ITER", 6, output="parts"), resume=True)
    assert equal(whole, parts)


def test_the_present_config_decides_rates_and_decay_on_resume(make_config):
    train(make_config("SOLVER.MAX_ITER", 2))
    options = ("SOLVER.MAX_ITER", 3, "SOLVER.BASE_LR", 0.002, "SOLVER.WEIGHT_DECAY", 0.5)
    trainer, _ = train(make_config(*options, "SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR"), resume=True)
    assert trainer.rates == [0.002]
    assert {g["weight_decay"] for g in trainer.optimizer.param_groups} == {0.0, 0.5}


def test_resume_without_a_checkpoint_starts_anew(make_config):
    trainer, _ = train(make_config("SOLVER.MAX_ITER", 1), resume=True)
    assert trainer.start_iter == 0


def test_resume_with_another_optimizer_is_one_clear_error(make_config):
    train(make_config("SOLVER.MAX_ITER", 1))
    content = torch.load(os.path.join(make_config().OUTPUT_DIR, "model_final.pth"), weights_only=True)
    del content["trainer"]["_trainer"]["optimizer"]["param_groups"][0]
    torch.save(content, os.path.join(make_config().OUTPUT_DIR, "model_final.pth"))
    with pytest.raises(CheckpointError, match="--resume"):
        Trainer(make_config()).resume_or_load(resume=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_an_evaluation_stops_at_once_and_saves(make_config, monkeypatch, number):
    cfg = make_config("TEST.EVAL_PERIOD", 2, "SOLVER.MAX_ITER", 6)
    monkeypatch.setattr(Trainer, "test", lambda *a: os.kill(os.getpid(), number))

    def of_the_program(_number, _frame):
        raise RuntimeError("the program ends, and nothing is saved")

    before = signal.signal(number, of_the_program)
    try:
        with pytest.raises(Interrupted, match="after iteration 1"):
            train(cfg)
        assert signal.getsignal(number) is of_the_program
    finally:
        signal.signal(number, before)
    assert os.path.isfile(os.path.join(cfg.OUTPUT_DIR, "model_0000001.pth"))


def test_an_unfinished_last_iteration_is_not_evaluated(make_config, monkeypatch):
    """A second Ctrl-C stops at once."""
    cfg, evaluated = make_config("SOLVER.MAX_ITER", 3), []
    monkeypatch.setattr(Trainer, "final_test", lambda *a: evaluated.append(a))

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(cfg, at=2, do=stop)
    assert not evaluated


def test_a_final_evaluation_that_was_interrupted_is_done_on_resume(make_config, monkeypatch):
    """... with all that follows it: the line in metrics.json, and the comparison with TEST.EXPECTED_RESULTS."""
    cfg = make_config("SOLVER.MAX_ITER", 2)
    final_test = Trainer.final_test

    def ctrl_c(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "final_test", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        train(cfg)
    monkeypatch.setattr(Trainer, "final_test", final_test)
    written = Path(cfg.OUTPUT_DIR) / "metrics.json"
    assert "panoptic_seg/PQ" not in written.read_text()
    _, results = train(cfg, resume=True)
    last = json.loads(written.read_text().splitlines()[-1])
    assert last["iteration"] == 2 and last["panoptic_seg/PQ"] == pytest.approx(results["panoptic_seg"]["PQ"])
    wrong = make_config("SOLVER.MAX_ITER", 2, "TEST.EXPECTED_RESULTS", [["panoptic_seg", "PQ", -1.0, 0.1]])
    with pytest.raises(SystemExit):
        train(wrong, resume=True)


def test_a_seed_is_chosen_where_there_is_none(make_config):
    cfg = make_config("SEED", -1, "SOLVER.MAX_ITER", 1)
    assert Trainer(cfg).cfg.SEED >= 0 and cfg.SEED == -1


def test_the_record_of_a_run(tmp_path):
    details = {"seed": 7, "device": "cpu", "config_files": ["x.yaml"]}
    record = RunRecord(tmp_path, mode="train", **details)
    record.write()
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "running"
    record.finish("finished", iterations=5, metrics={"panoptic_seg": {"PQ": float("nan"), "SQ": 50.0}})
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["status"] == "finished" and content["iterations"] == 5 and content["end"] >= content["start"]
    assert content["metrics"] == {"panoptic_seg": {"PQ": None, "SQ": 50.0}}
    assert {"zsseg_d2", "detectron2", "torch", "open_clip", "python"} == set(content["versions"])
    RunRecord(tmp_path, mode="eval", **{**details, "seed": 8}).finish("finished")
    assert recorded_seed(tmp_path) == 7  # the evaluation kept the record of the training
