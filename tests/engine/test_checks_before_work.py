"""What is missing is told before anything is fetched or built, with the remedy that belongs to it."""

from __future__ import annotations

import argparse

import pytest

from zsseg_d2.engine import Trainer, run
from zsseg_d2.engine.checkpoints.sources import local_weights
from zsseg_d2.engine.config.setup import setup_cfg
from zsseg_d2.engine.errors import CheckpointError, ConfigError
from zsseg_d2.engine.run import check_resumed


def arguments(config, *options, **more):
    where = {"num_gpus": 1, "num_machines": 1, "machine_rank": 0, "dist_url": "auto", "resume": False}
    options = ["MODEL.DEVICE", "cpu", *map(str, options)]
    return argparse.Namespace(config_file=config, opts=options, eval_only=True, **{**where, **more})


@pytest.fixture
def nothing_is_built(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "none"))
    monkeypatch.setattr(Trainer, "build_model", lambda *_: pytest.fail("the model is built before data are looked for"))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("cityscapes/zero_shot.yaml", "^error: DATASETS.TEST: openvocab_cityscapes_fine_panoptic_val: "),
        ("phrasecut/clipseg_rd64.yaml", "^error: DATASETS.TEST: phrasecut_test: "),
    ],
)
def test_missing_data_are_told_before_clip_is_fetched(nothing_is_built, tmp_path, config, told):
    with pytest.raises(SystemExit, match=told):
        run(arguments(config, "OUTPUT_DIR", tmp_path / "out", "MODEL.WEIGHTS", "http://localhost:1/none.pth"))


def test_missing_weights_point_to_their_own_authors():
    with pytest.raises(CheckpointError, match="bytedance/fc-clip") as stop:
        local_weights("none.pth")
    assert "CLIPSeg" not in str(stop.value)
    with pytest.raises(CheckpointError, match="CIDAS/clipseg-rd64-refined") as stop:
        local_weights("none.pth", phrases=True)
    assert "fc-clip" not in str(stop.value)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("full_finetune", "SOLVER.IMS_PER_BATCH", 8),
        ("full_finetune", "SEED", 4),
        ("full_finetune", "DATALOADER.ASPECT_RATIO_GROUPING", False),
        ("combined_entropy", "ZSSEG.FUSION.WEIGHT", 0.9),
        ("combined_entropy", "ZSSEG.FUSION.DEEP_SUPERVISION", True),
        ("mean_teacher", "ZSSEG.PSEUDO_LABELS.MIN_AREA", 5000),
        ("mean_teacher", "ZSSEG.PSEUDO_LABELS.MIN_VISIBLE", 0.9),
        ("combined_mean_teacher", "ZSSEG.VOID_SUPPRESSION", 0.5),
    ],
)
def test_resuming_with_other_samples_or_targets_is_refused(tmp_path, name, key, value):
    def config(*options):
        return setup_cfg(argparse.Namespace(config_file=f"minicity/{name}.yaml", opts=[*map(str, options)]))

    options = ["MODEL.DEVICE", "cpu", "SEED", 3, "DATALOADER.NUM_WORKERS", 1]
    (tmp_path / "config.yaml").write_text(config(*options).dump())
    check_resumed(config(*options, "DATALOADER.NUM_WORKERS", 4), tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match=f"^--resume: {key} was .* and is {value} now. Fix: "):
        check_resumed(config(*options, key, value), tmp_path / "config.yaml")
