"""The benchmark's sums; what it times is in other tests, and how long it takes is its own to say."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from tests.parity import parity_config, recorded
from zsseg_d2.engine.benchmark import model_rows, parts
from zsseg_d2.engine.benchmark.measure import Timing, Worker, operations

_SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "benchmark.py"
_SPEC = importlib.util.spec_from_file_location("benchmark_tool", _SCRIPT)
tool = importlib.util.module_from_spec(_SPEC)
sys.modules["benchmark_tool"] = tool  # its dataclass looks its module up
_SPEC.loader.exec_module(tool)

RATES = {torch.float32: 2e11}


def test_a_line_by_hand():
    fast, plain = Timing([2.0, 4.0, 3.0], 1.5, 0.5, {"operations": 10**11}), Timing([10.0, 8.0, 9.0], 6.0, 1.0, {})
    line = tool._line(tool.ROWS["training-step"], fast, plain, RATES, 1)
    assert line["seconds"] == 3 and line["spread"] == [2, 4] and line["other_seconds"] == 9
    assert line["ratio"] == pytest.approx(1 / 3)  # the median of 1/5, 1/2 and 1/3
    assert line["added_gb"] == 1 and line["other_added_gb"] == 5 and line["added_ratio"] == 0.2
    assert line["memory_ratio"] == 0.25 and line["limit_seconds"] == 0.5 and line["rate"] == pytest.approx(2 / 3)
    assert line["met"] is True


def test_operations_by_hand():
    a, b = torch.randn(5, 7, requires_grad=True), torch.randn(7, 3)

    def both_ways() -> None:
        with torch.no_grad():
            a @ b
        (a @ b).sum().backward()  # and the gradient of a: (5, 3) by (3, 7)

    assert operations(both_ways) == 3 * 2 * 5 * 7 * 3


@pytest.mark.parametrize(
    "name, seconds, memory, met",
    [
        ("inference-1024", 9.0, 3.5, True),
        ("inference-1024", 9.1, 3.0, False),
        ("inference-1024", 8.0, 3.6, False),
        ("inference-512-bf16", 1.3, 9.0, False),
        ("evaluation", 0.014, 9.0, True),
        ("deletion", 3.1, 9.0, False),
    ],
)
def test_targets(name, seconds, memory, met):
    rates = {**RATES, torch.bfloat16: 4e11}
    assert tool._line(tool.ROWS[name], Timing([seconds], memory, 0.0, {"operations": 1}), None, rates, 1)["met"] is met


@pytest.mark.parametrize("name", ["training-step", "combined-step", "deletion-nine"])
def test_a_target_against_something_is_not_judged_without_it(name):
    assert "met" not in tool._line(tool.ROWS[name], Timing([1.0], 1.0, 0.0, {"operations": 1}), None, RATES, 1)


def test_a_process_that_fails_is_told():
    with pytest.raises(RuntimeError, match="status 3"):
        Worker([sys.executable, "-c", "raise SystemExit(3)"])
    worker = Worker([sys.executable, "-c", "print('{}', flush=True); input(); raise SystemExit(4)"])
    with pytest.raises(RuntimeError, match="status 4"):
        worker()


def test_rows_that_do_not_exist_and_wrong_keys_are_refused(capsys):
    with pytest.raises(SystemExit):
        tool.main(["--rows", "magic"])
    assert "invalid choice: 'magic'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="Unknown config key"):
        tool.main(["--rows", "evaluation", "--repeat", "1", "MODEL.MAGIC", "1"])


def test_own_time_of_parts_by_hand(monkeypatch):
    """Outer: 1 s, inner 2 s, 3 s more, inner again 4 s."""
    clock = [0.0]
    monkeypatch.setattr(parts.time, "perf_counter", lambda: clock[0])
    watch = parts._Watch()

    def wait(seconds: float) -> None:
        clock[0] += seconds

    inner = watch.over(wait, "inner")

    def work() -> None:
        wait(1)
        inner(2)
        wait(3)
        inner(4)

    watch.over(work, "outer")()
    inner(5)
    assert watch.seconds == {"inner": 11.0, "outer": 4.0}


def test_parts_of_a_model(tmp_path, monkeypatch):
    record = recorded("resnet")
    monkeypatch.setattr(model_rows, "random_model", lambda *a: (build_model(parity_config(record, tmp_path)), None))
    run = model_rows.inference("", (64, 96))
    seconds = parts.seconds_of_parts(run.model, run)
    inside = (
        "CLIP",
        "deformable encoder",
        "rest of the pixel decoder",
        "query decoder",
        "class scores",
        "panoptic rule",
        "rest",
    )
    assert set(seconds) == {*inside, "all"} and min(seconds.values()) > 0
    assert sum(seconds[part] for part in inside) == pytest.approx(seconds["all"])
    assert "forward" not in vars(run.model.backbone)  # nothing stays behind


def test_parts_are_of_rows_with_a_model(capsys):
    with pytest.raises(SystemExit):
        tool.main(["--rows", "evaluation", "--parts"])
    assert "--parts is for inference-1024" in capsys.readouterr().err


def test_ctrl_c_keeps_the_rows_measured(monkeypatch, capsys):
    def measure(name, row, args, words, rates):
        if name == "mapper":
            raise KeyboardInterrupt
        return tool._line(row, Timing([20.0], 1.0, 0.5, {}), None, rates, 1)

    monkeypatch.setattr(tool, "measure", measure)
    assert tool.main(["--rows", "evaluation", "mapper", "phrase-masks"]) == 130
    told = capsys.readouterr()
    assert "Stopped in row mapper" in told.err and "evaluation" in told.out and "phrase-masks" not in told.out
    assert "missed: docs/performance.md" in told.out  # 20 s are more than the row's 15 ms
    assert tool.main(["--rows", "phrase-masks"]) is None
    assert "missed" not in capsys.readouterr().out


def test_stopping_a_process_ends_those_it_started():
    start = "import json, subprocess; child = subprocess.Popen(['sleep', '600']); "
    program = start + "print(json.dumps({'child': child.pid}), flush=True); input()"
    answers = []

    class Heard(Worker):
        def _answer(self):
            answers.append(super()._answer())
            return answers[-1]

    worker = Heard([sys.executable, "-c", program])
    child = Path(f"/proc/{answers[0]['child']}/stat")
    assert child.exists()
    worker.stop()
    deadline = time.monotonic() + 30
    while child.exists() and child.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < deadline, "still runs"
        time.sleep(0.02)
    worker.stop()  # nothing is left to stop


@pytest.mark.parametrize("part", ["pixel decoder", "query decoder"])
def test_parts_of_the_head_are_those_of_the_model(part, tmp_path, monkeypatch):
    record = recorded("resnet")
    model = build_model(parity_config(record, tmp_path)).eval()
    monkeypatch.setattr(model_rows, "random_model", lambda *a: (model, None))
    result = model_rows.head_part("", (64, 96), part, compiled=False)()
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = model.backbone(image)
        if part == "pixel decoder":
            assert torch.equal(result[0], model.sem_seg_head.pixel_decoder.features(features)[0])
        else:
            assert torch.equal(result.mask_logits, model.sem_seg_head.last(features).mask_logits)


def test_the_table_of_parts(monkeypatch, capsys):
    calls = [{"CLIP": s, "rest": 1.0, "all": s + 1} for s in (2.0, 4.0, 3.0)]
    monkeypatch.setattr(tool, "keep_freed_memory", lambda: True)
    monkeypatch.setattr(tool, "seconds_of_parts", lambda model, function: calls.pop(0))

    def run() -> None:
        pass

    run.model = None
    monkeypatch.setattr(model_rows, "training_step", lambda *a: run)
    tool.main(["--rows", "training-step", "--parts"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["CLIP", "3"] in rows and ["all", "4"] in rows
