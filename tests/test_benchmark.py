"""The benchmark's sums, its processes and its parts; how long things take is for the benchmark to say."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from tests.parity import parity_config, recorded
from zsseg_d2.cli import benchmark as tool
from zsseg_d2.cli import benchmark_rows
from zsseg_d2.engine.benchmark import measure, model_work
from zsseg_d2.engine.benchmark.rows import ROWS, make_form

RATES = {torch.float32: 2e11, torch.bfloat16: 4e11}
ROOT = Path(__file__).resolve().parents[1]


def form(seconds: float, memory: float = 1.0, added: float = 0.5, operations: int = 10**11) -> dict:
    spread = [seconds, seconds]
    return {"seconds": seconds, "spread": spread, "memory_gb": memory, "added_gb": added, "operations": operations}


def test_a_line_by_hand():
    fast, plain = form(3.0, 1.5, 1.0), form(9.0, 6.0, 5.0)
    line = benchmark_rows.row_line(ROWS["training-step"], fast, plain, [2 / 10, 4 / 8, 3 / 9], RATES, 1)
    assert line["seconds"] == 3 and line["other_seconds"] == 9 and line["ratio"] == pytest.approx(1 / 3)
    assert line["added_gb"] == 1 and line["other_added_gb"] == 5 and line["added_ratio"] == 0.2
    assert line["memory_ratio"] == 0.25 and line["limit_seconds"] == 0.5 and line["rate"] == pytest.approx(2 / 3)
    assert line["met"] is True


@pytest.mark.parametrize(
    ("name", "seconds", "memory", "met"),
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
    assert benchmark_rows.row_line(ROWS[name], form(seconds, memory), None, [], RATES, 1)["met"] is met


@pytest.mark.parametrize("name", ["training-step", "combined-step", "deletion-nine"])
def test_a_relative_target_is_not_judged_without_the_other_form(name):
    assert "met" not in benchmark_rows.row_line(ROWS[name], form(1.0), None, [], RATES, 1)


def test_operations_by_hand():
    a, b = torch.randn(5, 7, requires_grad=True), torch.randn(7, 3)

    def both_ways() -> None:
        with torch.no_grad():
            a @ b
        (a @ b).sum().backward()  # and the gradient of a: (5, 3) by (3, 7)

    with measure._Operations() as counter:
        both_ways()
    assert counter.total == 3 * 2 * 5 * 7 * 3


def sleeper(seconds: float):
    """Make a function that sleeps; with a negative time, one that ends its process."""
    return partial(time.sleep, seconds) if seconds >= 0 else partial(os._exit, 3)


def hog(megabytes: int):
    return lambda: float(torch.ones(megabytes * 2**18).sum())


def test_forms_run_in_turns_in_processes_of_their_own():
    forms = measure.in_turns({"fast": partial(sleeper, 0.05), "slow": partial(hog, 400)}, repeat=2)
    fast, slow = (forms[name].finish() for name in ("fast", "slow"))
    assert 0.05 <= fast["seconds"] < 2 and fast["spread"][0] <= fast["seconds"] <= fast["spread"][1]
    assert slow["memory_gb"] > fast["memory_gb"] + 0.3 and slow["added_gb"] > 0.3 > fast["added_gb"]


def test_a_process_that_ends_is_an_error():
    with pytest.raises(BrokenProcessPool):
        measure.in_turns({"broken": partial(sleeper, -1)}, repeat=1)


def test_ctrl_c_ends_all_processes(tmp_path):
    code = (
        "import time\nfrom functools import partial\nfrom zsseg_d2.engine.benchmark.measure import in_turns\n"
        "if __name__ == '__main__':\n    in_turns({'a': partial(partial, time.sleep, 0.2)}, 10**6)\n"
    )
    (tmp_path / "program.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = subprocess.Popen(
        [sys.executable, tmp_path / "program.py"],
        env=environment,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),  # a shell's "&" ignores it
    )
    try:
        deadline = time.monotonic() + 600  # a busy machine takes a minute to import torch, twice
        while len(members(program.pid)) < 3:  # the program, its worker, and Python's tracker of their resources
            assert program.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        os.killpg(program.pid, signal.SIGINT)
        deadline = time.monotonic() + 60
        assert program.wait(60) != 0
        while members(program.pid):
            assert time.monotonic() < deadline, "a process is left"
            time.sleep(0.2)
    finally:
        if members(program.pid):
            os.killpg(program.pid, signal.SIGKILL)


def members(group: int) -> list[str]:
    """Processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = path.read_text().rsplit(")", 1)[1].split()[:3]
        except (OSError, ValueError):
            continue
        found += [path.parent.name] if int(its_group) == group and state != "Z" else []
    return found


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def outer(self) -> None:
        time.sleep(0.05)
        self.inner()
        self.inner()

    def inner(self) -> None:
        time.sleep(0.1)


def test_parts_do_not_count_the_parts_inside_them():
    model = Parts()

    def call() -> None:
        model.outer()
        model.inner()
        time.sleep(0.03)

    seconds = measure.seconds_of_parts(call, {"outer": [(model, "outer")], "inner": [(model, "inner")]})
    assert list(seconds) == ["outer", "inner", "rest", "all"]
    assert 0.05 <= seconds["outer"] < 0.1 and 0.3 <= seconds["inner"] < 0.4 and 0.03 <= seconds["rest"] < 0.1
    assert seconds["all"] == pytest.approx(seconds["outer"] + seconds["inner"] + seconds["rest"])
    assert "outer" not in vars(model)  # nothing stays patched


def test_parts_of_a_model(tmp_path, monkeypatch):
    record = recorded("resnet")
    monkeypatch.setattr(model_work, "random_model", lambda *a: (build_model(parity_config(record, tmp_path)), None))
    work = model_work.inference("", (64, 96))
    seconds = measure.seconds_of_parts(work, work.parts())
    inside = {
        "CLIP",
        "deformable encoder",
        "rest of the pixel decoder",
        "query decoder",
        "class scores",
        "panoptic rule",
    }
    assert set(seconds) == {*inside, "rest", "all"} and min(seconds.values()) > 0


@pytest.mark.parametrize("part", ["pixel decoder", "query decoder"])
def test_parts_of_the_head_are_those_of_the_model(part, tmp_path, monkeypatch):
    record = recorded("resnet")
    model = build_model(parity_config(record, tmp_path)).eval()
    monkeypatch.setattr(model_work, "random_model", lambda *a: (model, None))
    result = model_work.head_part("", (64, 96), part, compiled=False)()
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = model.backbone(image)
        if part == "pixel decoder":
            assert torch.equal(result[0], model.sem_seg_head.pixel_decoder.features(features)[0])
        else:
            assert torch.equal(result.mask_logits, model.sem_seg_head.last(features).mask_logits)


def test_wrong_arguments_are_refused(capsys):
    for words, message in (
        (["--rows", "magic"], "invalid choice: 'magic'"),
        (["--rows", "evaluation", "--parts"], "--parts is for inference-1024"),
        (["--repeat", "0"], "must be positive"),
    ):
        with pytest.raises(SystemExit):
            tool.main(words)
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match="Unknown config key"):
        tool.main(["--rows", "evaluation", "--repeat", "1", "MODEL.MAGIC", "1"])


def test_ctrl_c_keeps_the_rows_measured(monkeypatch, capsys):
    def measured(name, row, args, rates):
        if name == "mapper":
            raise KeyboardInterrupt
        return benchmark_rows.row_line(row, form(20.0), None, [], rates, 1)

    monkeypatch.setattr(benchmark_rows, "measure", measured)
    assert tool.main(["--rows", "evaluation", "mapper", "phrase-masks"]) == 130
    told = capsys.readouterr()
    assert "Stopped in row mapper" in told.err and "evaluation" in told.out and "phrase-masks" not in told.out
    assert "missed: docs/performance.md" in told.out  # 20 s are more than the row's 15 ms
    assert tool.main(["--rows", "phrase-masks"]) == 0
    assert "missed" not in capsys.readouterr().out


def test_a_row_that_fails_costs_no_other_row(monkeypatch, capsys):
    def measured(name, row, args, rates):
        if name == "mapper":
            raise RuntimeError("out of memory")
        return benchmark_rows.row_line(row, form(20.0), None, [], rates, 1)

    monkeypatch.setattr(benchmark_rows, "measure", measured)
    assert tool.main(["--rows", "evaluation", "mapper", "phrase-masks"]) == 1
    told = capsys.readouterr()
    assert "error: mapper: out of memory" in told.err
    assert "evaluation" in told.out and "phrase-masks" in told.out and "mapper" not in told.out


def test_the_table_of_parts(monkeypatch, capsys):
    calls = [{"CLIP": s, "rest": 1.0, "all": s + 1} for s in (2.0, 4.0, 3.0)]
    monkeypatch.setattr(benchmark_rows, "keep_freed_memory", lambda: True)
    monkeypatch.setattr(benchmark_rows, "seconds_of_parts", lambda function, places: calls.pop(0))
    work = argparse.Namespace(parts=dict)
    monkeypatch.setattr(model_work, "training_step", lambda *a: model_work.Work(work, lambda: None))
    monkeypatch.setattr(model_work.Work, "parts", lambda self: {})
    tool.main(["--rows", "training-step", "--parts"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["CLIP", "3"] in rows and ["all", "4"] in rows


def test_the_program_measures_a_row_in_both_forms(capsys):
    assert tool.main(["--rows", "evaluation", "--repeat", "1", "--json"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]["evaluation"]
    assert row["against"] == "cityscapesscripts" and 0 < row["ratio"] < 1 and row["memory_gb"] > 0
    assert isinstance(row["met"], bool)


def test_every_row_has_two_forms_or_says_against_what():
    assert all(bool(row.other) == bool(row.against) for row in ROWS.values())
    args = argparse.Namespace(config_file=[], opts=[], batch=1, device="cpu")
    assert make_form("deformable", "fast", args)()[0].shape == (1, 10752 * 4, 256)
