"""The curve between two files of weights: its ends, restarting, files that do not fit, the picture."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from zsseg_d2.cli.wise_ft import parse_arguments
from zsseg_d2.engine import Trainer
from zsseg_d2.engine.checkpoints.provenance import provenance_of
from zsseg_d2.engine.checkpoints.weight_arithmetic import join_parts
from zsseg_d2.engine.checkpoints.wise_ft import run_wise_ft
from zsseg_d2.evaluation.panoptic.alpha_curve import alpha_name, alpha_table, plot_alpha_curve

from . import tiny_task


@pytest.fixture(scope="module")
def trained(tiny_data, tmp_path_factory) -> list[Path]:
    """Checkpoints of a tiny model, one after the other in a training: both see something, and not the same."""
    folder = tmp_path_factory.mktemp("trained")
    options = (
        "DATASETS.TEST",
        (),
        "SOLVER.CHECKPOINT_PERIOD",
        15,
        "SOLVER.BASE_LR",
        0.05,
        "MODEL.MASK_FORMER.DROPOUT",
        0.0,
    )
    torch.manual_seed(0)
    Trainer(tiny_task.config(folder, *options, "SOLVER.MAX_ITER", 45)).train()
    return [folder / "model_0000014.pth", folder / "model_final.pth"]


@pytest.fixture
def files(trained, tmp_path) -> Path:
    """``zero_shot.pth``, ``fine_tuned.pth`` and the config ``tiny.yaml``, which writes into ``out``."""
    (tmp_path / "tiny.yaml").write_text(tiny_task.config(tmp_path / "out").dump())
    for name, path in zip(("zero_shot", "fine_tuned"), trained):
        shutil.copy(path, tmp_path / f"{name}.pth")
    return tmp_path


def arguments(folder: Path, *options, zero_shot: str = "zero_shot.pth", fine_tuned: str = "fine_tuned.pth"):
    files = {"--config-file": "tiny.yaml", "--zero-shot": zero_shot, "--fine-tuned": fine_tuned}
    words = [word for flag, name in files.items() for word in (flag, str(folder / name))]
    return parse_arguments([*words, *map(str, options)])


def curve(folder: Path) -> dict:
    return json.loads((folder / "out/wise_ft/wise_ft.json").read_text())


def test_the_ends_are_the_metrics_of_the_two_files(files):
    points = run_wise_ft(arguments(files, "--alphas", 1, 0.5, 0, "--save", 0.5, 1, "SEED", 1))
    assert [p["alpha"] for p in points] == [0, 0.5, 1] and points == curve(files)["points"]
    for point, name in ((points[0], "zero_shot"), (points[2], "fine_tuned")):
        cfg = tiny_task.config(files / name)
        model = Trainer.build_model(cfg)
        Trainer.build_checkpointer(cfg, model).load(str(files / f"{name}.pth"))
        scores = Trainer.test(cfg, model)["panoptic_seg"]
        names = {"pq_all": "PQ", "pq_in": "PQ_in", "pq_out": "PQ_out", "harmonic_mean": "PQ_hm"}
        assert {k: point[k] for k in names} == {
            k: None if math.isnan(scores[v]) else scores[v] for k, v in names.items()
        }
    assert points[0]["pq_all"] > 0 and points[2]["pq_all"] > 0 and points[0]["pq_all"] != points[2]["pq_all"]
    folder = files / "out" / "wise_ft"
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    assert "| 0.50 |" in (folder / "wise_ft.md").read_text() and (folder / "wise_ft.png").is_file()
    assert (folder / "alpha_0.50/inference/tiny_engine_val/panoptic_quality.json").is_file()
    assert sorted(p.name for p in folder.glob("*.safetensors")) == [
        "wise_ft_0.50.safetensors",
        "wise_ft_1.00.safetensors",
    ]
    fine_tuned = torch.load(files / "fine_tuned.pth")["model"]
    written = load_file(folder / "wise_ft_1.00.safetensors")
    assert written.keys() == fine_tuned.keys() and all(torch.equal(v, fine_tuned[k]) for k, v in written.items())


def test_a_method_completes_the_weights(files, monkeypatch):
    """As a mean teacher does, which an ordinary file has no weights for."""
    seen = []

    def test(_cfg, model):
        seen.append(float(model.logit_scale.detach()))
        return {"panoptic_seg": dict.fromkeys(("PQ", "PQ_in", "PQ_out", "PQ_hm"), 1.0)}

    def complete(_model, state):
        return {**state, "logit_scale": torch.tensor(7.0)}

    monkeypatch.setattr(tiny_task.TinySegmenter, "complete_state", complete, raising=False)
    monkeypatch.setattr(Trainer, "test", test)
    run_wise_ft(arguments(files, "--alphas", 0, 1))
    assert seen == [7.0, 7.0]


def test_a_restart_computes_only_what_is_missing(files, monkeypatch):
    evaluated = []
    test = Trainer.test.__func__

    def counting(cls, cfg, model):
        evaluated.append(Path(cfg.OUTPUT_DIR).name)
        if len(evaluated) == 2:
            raise KeyboardInterrupt
        return test(cls, cfg, model)

    monkeypatch.setattr(Trainer, "test", classmethod(counting))
    with pytest.raises(SystemExit) as stop:
        run_wise_ft(arguments(files, "--alphas", 0, 0.5))
    assert stop.value.code == 130 and [p["alpha"] for p in curve(files)["points"]] == [0]
    assert json.loads((files / "out/wise_ft/run.json").read_text())["status"] == "interrupted"
    run_wise_ft(arguments(files, "--alphas", 0, 0.5, "SEED", 9))
    assert evaluated == ["alpha_0.00", "alpha_0.50", "alpha_0.50"]
    run_wise_ft(arguments(files, "--alphas", 0.25))  # joins the curve
    assert evaluated[3:] == ["alpha_0.25"] and [p["alpha"] for p in curve(files)["points"]] == [0, 0.25, 0.5]
    run_wise_ft(arguments(files, "--alphas", 0.5, 0.25))  # nothing to do
    run_wise_ft(arguments(files, "--alphas", 0.5, "INPUT.MIN_SIZE_TEST", 20))  # another config: anew
    assert evaluated[4:] == ["alpha_0.50"] and [p["alpha"] for p in curve(files)["points"]] == [0.5]
    state = torch.load(files / "fine_tuned.pth")["model"]
    torch.save(
        {"model": {k: v if k.startswith("backbone") else v * 2 for k, v in state.items()}}, files / "fine_tuned.pth"
    )
    run_wise_ft(arguments(files, "--alphas", 0, "INPUT.MIN_SIZE_TEST", 20))  # other weights: anew
    assert evaluated[5:] == ["alpha_0.00"] and [p["alpha"] for p in curve(files)["points"]] == [0]
    (files / "out/wise_ft/wise_ft.json").write_text("{")
    run_wise_ft(arguments(files, "--alphas", 0, "INPUT.MIN_SIZE_TEST", 20))
    assert len(evaluated) == 7


def test_files_that_do_not_fit_end_before_anything_is_built(files, monkeypatch):
    monkeypatch.setattr(Trainer, "build_model", None)
    single = {"sem_seg_head.w": torch.ones(2), "void_embedding.weight": torch.ones(1)}
    torch.save({"model": join_parts(single, single)}, files / "combined.pth")
    torch.save({"model": {"roi_heads.w": torch.ones(2)}}, files / "other.pth")
    (files / "damaged.pth").write_bytes(b"PK\x03\x04 half a zip")
    for name, told in (
        ("none.pth", "--fine-tuned: There is no file of weights"),
        ("combined.pth", "--fine-tuned '.*' is a checkpoint of two models.*combined_weights.py split"),
        ("other.pth", "not of one architecture.*--fine-tuned '.*' alone: roi_heads.w"),
        ("damaged.pth", "--fine-tuned: .*damaged.pth"),
    ):
        with pytest.raises(SystemExit, match=f"^error: .*{told}"):
            run_wise_ft(arguments(files, fine_tuned=name))
    with pytest.raises(SystemExit, match="--zero-shot: There is no file"):
        run_wise_ft(arguments(files, zero_shot="none.pth"))
    with pytest.raises(SystemExit, match="alpha=1.5"):
        run_wise_ft(arguments(files, "--alphas", 0, 1.5))
    with pytest.raises(SystemExit, match="DATASETS.TEST=.*the curve is of one dataset"):
        run_wise_ft(arguments(files, "DATASETS.TEST", ("tiny_engine_val", "tiny_engine_train")))
    semantic = ("MODEL.MASK_FORMER.TEST.PANOPTIC_ON", False, "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", True)
    with pytest.raises(SystemExit, match="DATASETS.TEST=.*the curve is of panoptic quality. Fix: "):
        run_wise_ft(arguments(files, *semantic))
    assert not (files / "out").exists()


def test_weights_alone_need_no_model(files, monkeypatch):
    monkeypatch.setattr(Trainer, "build_model", None)
    assert run_wise_ft(arguments(files, "--alphas", "--save", 0.125, "OUTPUT_DIR", files / "saved")) == []
    written = files / "saved" / "wise_ft_0.125.safetensors"
    assert written.is_file() and not (files / "saved" / "wise_ft.json").exists()
    found = provenance_of(written)
    parents = [hashlib.sha256((files / f"{name}.pth").read_bytes()).hexdigest() for name in ("zero_shot", "fine_tuned")]
    assert found.complete and found.step.program == "wise_ft" and list(found.step.parents) == parents


def test_two_processes_draw_the_same_curve(files):
    one = run_wise_ft(arguments(files, "--alphas", 0, 1))
    assert run_wise_ft(arguments(files, "--num-gpus", 2, "--alphas", 0, 1, "OUTPUT_DIR", files / "two")) is None
    two = json.loads((files / "two" / "wise_ft.json").read_text())
    assert two["points"] == one and two["sha256"] == curve(files)["sha256"]
    with pytest.raises(SystemExit) as stop:
        run_wise_ft(arguments(files, "--num-gpus", 2, fine_tuned="none.pth"))
    assert str(stop.value.code).startswith("error: --fine-tuned: There is no file of weights")


def test_numbers_end_where_key_value_pairs_begin():
    required = ["--config-file", "c.yaml", "--zero-shot", "a", "--fine-tuned", "b"]
    args = parse_arguments([*required, "--alphas", "0", "1", "--save", "0.5", "OUTPUT_DIR", "x", "SEED", "3"])
    assert (args.alphas, args.save, args.opts) == ([0, 1], [0.5], ["OUTPUT_DIR", "x", "SEED", "3"])
    args = parse_arguments([*required, "SEED", "3"])
    assert (args.alphas, args.save, args.opts) == ([0, 0.25, 0.5, 0.75, 1], [], ["SEED", "3"])


POINTS = [
    {"alpha": a, "pq_all": 40 + 8 * a, "pq_in": 50 + 14 * a, "pq_out": out, "harmonic_mean": out}
    for a, out in ((1.0, None), (0.0, 20.0), (0.125, 30.0))
]


def test_the_picture_and_the_table(tmp_path):
    plot_alpha_curve(tmp_path / "new" / "one.png", POINTS)
    plot_alpha_curve(
        tmp_path / "two.png", POINTS, errors=[dict.fromkeys(p, 1.0) for p in POINTS], title="mean of 3 seeds"
    )
    one, two = (np.asarray(Image.open(tmp_path / name).convert("L")) for name in ("new/one.png", "two.png"))
    assert one.shape[1] > 1000 and (one < 128).sum() > 2000 and not np.array_equal(one, two)
    with pytest.raises(ValueError, match="3 and 1"):
        plot_alpha_curve(tmp_path / "three.png", POINTS, errors=POINTS[:1])
    assert [alpha_name(a) for a in (0, 0.5, 1 / 8, 0.1 + 0.2)] == ["0.00", "0.50", "0.125", "0.30"]
    assert "–" in alpha_table(POINTS).splitlines()[2] and "0.125" in alpha_table(POINTS)
