"""Composites from end to end: every config, resuming bit for bit, stages of resolution, plateaus, and refusals."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path

import pytest
import torch
from detectron2.engine import hooks
from PIL import Image

from tests.engine import test_trainer
from tests.engine.stopping import Stop
from tests.engine.test_trainer import equal
from tests.engine.tiny_composites import config, write_parts
from zsseg_d2.engine.config.packaged import packaged_configs
from zsseg_d2.engine.errors import ConfigError
from zsseg_d2.engine.training.hooks import Interrupted
from zsseg_d2.engine.training.loaders import build_train_loader
from zsseg_d2.engine.training.plateau import PlateauLR, score_of
from zsseg_d2.engine.training.trainer import Trainer

CONFIGS = sorted(
    Path(name).stem for name in packaged_configs() if name.startswith("composites/") and "suite" not in name
)
STAGES = ("INPUT.COMPOSITES.STAGES", "[[0, 16], [1, 32]]")
MORE = {"eva": ("INPUT.COMPOSITES.SIZE", 128, "SOLVER.IMS_PER_BATCH", 1), "progressive": STAGES}


def train(cfg, **options):
    """Train; the program seeds the first weights, too."""
    torch.manual_seed(cfg.SEED)
    return test_trainer.train(cfg, **options)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return write_parts(tmp_path_factory.mktemp("parts"))


def test_the_configs_are_there():
    assert {"unet_small", "unet", "unet_large", "composite_alone", "grey", "progressive", "plateau", "eva"} <= set(
        CONFIGS
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_trains_and_evaluates(name, parts, tmp_path):
    cfg = config(name, parts, tmp_path / "out", *MORE.get(name, ()))
    trainer, results = train(cfg)
    assert trainer.iter == 2
    scores = results["composites"]
    assert 0 <= scores["mask_iou"] <= 100 and 0 <= scores["subtraction_iou"] <= 100
    assert ("depth_rmse" in scores) == (name != "eva")
    for split in ("val", "test"):
        report = json.loads((tmp_path / "out" / "inference" / f"composites_{split}" / "composites.json").read_text())
        assert report["num_images"] == 3
        assert report["subtraction_baseline"]["threshold_chosen_on"] == "composites_val"  # of test, too


def test_samples_are_drawn_and_continued(parts, tmp_path):
    options = ("ZSSEG.SAMPLES.PERIOD", 2, "ZSSEG.SAMPLES.COUNT", 2, "SOLVER.CHECKPOINT_PERIOD", 1)
    train(config("unet_small", parts, tmp_path / "out", *options, "SOLVER.MAX_ITER", 3))
    samples = tmp_path / "out" / "samples"
    train(config("unet_small", parts, tmp_path / "out", *options, "SOLVER.MAX_ITER", 4), resume=True)
    folders = [path for path in samples.iterdir() if path.is_dir()]
    assert len(folders) == 2
    for folder in folders:
        assert sorted(p.name for p in folder.iterdir()) == [f"{k:07d}.png" for k in (0, 2, 3, 4)]
        with Image.open(folder / "0000004.png") as drawn:
            assert drawn.size == (32, 64) and drawn.mode == "L"  # the depth is below the mask
    with Image.open(samples / "samples.gif") as frames, Image.open(samples / "strip.png") as strip:
        assert frames.n_frames == 4 and strip.width > 6 * 150


PLATEAU = (
    *("SOLVER.PLATEAU.PERIOD", 2, "SOLVER.PLATEAU.PATIENCE", 0, "SOLVER.PLATEAU.FACTOR", 0.5, "SOLVER.MAX_ITER", 8),
    # No score can improve by 100 percent: the rate falls after every evaluation but the first.
    *("SOLVER.PLATEAU.THRESHOLD", 1.0, "SOLVER.PLATEAU.METRIC", "pixel_accuracy", "SOLVER.CHECKPOINT_PERIOD", 1),
    *("MODEL.COMPOSITES.NET", "unet_small", "SOLVER.BASE_LR", 0.01),
)


@pytest.fixture(scope="module")
def uninterrupted(parts, tmp_path_factory):
    trainer, _ = train(config("plateau", parts, tmp_path_factory.mktemp("whole") / "out", *PLATEAU))
    return trainer


def test_the_rate_falls_on_a_plateau(uninterrupted):
    assert uninterrupted.rates == [0.01, 0.01, 0.01, 0.01, 0.005, 0.005, 0.0025, 0.0025]
    assert isinstance(uninterrupted.optimizer, torch.optim.Adam)


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6, 7])
def test_a_training_resumes_bit_for_bit_at_any_iteration(at, parts, tmp_path, uninterrupted):
    """Stages of resolution, Adam, plateau; killed before iteration `at`, with no time to save."""
    cfg = config("plateau", parts, tmp_path / "out", *PLATEAU)

    def die():
        raise Stop

    with pytest.raises(Stop):
        train(cfg, at=at, do=die)
    resumed, _ = train(cfg, resume=True)
    assert resumed.start_iter == at and resumed.rates == uninterrupted.rates[at:]
    assert equal(resumed, uninterrupted)


def test_ctrl_c_in_the_evaluation_of_a_plateau_loses_nothing(parts, tmp_path, uninterrupted, monkeypatch):
    """The iteration is saved, and the evaluation is done when the training resumes."""
    cfg = config("plateau", parts, tmp_path / "out", *PLATEAU)
    results_on, calls = Trainer._results_on, []

    def stopped(self, dataset):
        calls.append(dataset)
        if len(calls) == 3:  # of the third one, which is done again
            os.kill(os.getpid(), signal.SIGINT)
        return results_on(self, dataset)

    monkeypatch.setattr(Trainer, "_results_on", stopped)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(Interrupted, match="after iteration 5"):
            train(cfg)
    finally:
        signal.signal(signal.SIGINT, before)
    resumed, _ = train(cfg, resume=True)
    assert set(calls) == {"composites_val"}  # never the split that is reported
    assert resumed.rates == uninterrupted.rates[6:] and equal(resumed, uninterrupted)


def test_plateaus_agree_with_torch():
    """The same scores through torch's own schedule, which acts on the optimizer itself."""
    scores = [0.1, 0.2, 0.2, 0.2, 0.2, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
    settings = {"mode": "max", "factor": 0.5, "patience": 2, "threshold": 1e-4, "cooldown": 1}
    own, reference = (torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4) for _ in range(2))
    schedule = PlateauLR(own, lambda k: 1.0, settings)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(reference, **settings)
    rates = []
    for score in scores:
        own.step()
        schedule.step()
        schedule.observe(score)
        torchs.step(score)
        rates.append(own.param_groups[0]["lr"])
        assert rates[-1] == pytest.approx(reference.param_groups[0]["lr"])
        other = PlateauLR(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4), lambda k: 1.0, settings)
        other.recall(schedule.memory())
        schedule, own = other, other.optimizer  # a resumed training
    assert len(set(rates)) > 2


def test_a_plateau_behind_a_warm_up():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = PlateauLR(optimizer, lambda k: min(1.0, (k + 1) / 4), {"factor": 0.1, "patience": 0, "mode": "min"})
    rates = []
    for score in (1.0, 2.0, 3.0):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
        schedule.observe(score)
    assert [*rates, optimizer.param_groups[0]["lr"]] == pytest.approx([0.25, 0.5, 0.075, 0.01])


def test_a_score_that_is_not_there():
    with pytest.raises(ConfigError, match="SOLVER.PLATEAU.METRIC=mask_iu: .* Did you mean mask_iou"):
        score_of({"composites": {"mask_iou": 1.0}}, "mask_iu")


def test_stages_follow_the_iterations(parts, tmp_path):
    """The same composites as at one size throughout, and each at its stage's size; also for a run that is resumed."""
    stages = ("INPUT.COMPOSITES.STAGES", "[[0, 16], [2, 24], [3, 32]]", "INPUT.COMPOSITES.AUGMENT.MIRROR", 0.0)
    loader = build_train_loader(config("unet", parts, tmp_path / "a", *stages))
    batches = [batch for _, batch in zip(range(5), loader)]
    assert [tuple(item["mask"].shape) for batch in batches for item in batch] == [
        (side, side) for side in (16, 16, 24, 32, 32) for _ in range(2)
    ]
    plain = build_train_loader(config("unet", parts, tmp_path / "b", *stages[2:]))
    same = [batch for _, batch in zip(range(5), plain)]
    ids = [[item["image_id"] for item in batch] for batch in batches]
    assert ids == [[item["image_id"] for item in batch] for batch in same]
    resumed = build_train_loader(config("unet", parts, tmp_path / "c", *stages))
    resumed.start_iter = 2
    later = next(iter(resumed))
    assert all(torch.equal(one["image"], two["image"]) for one, two in zip(later, batches[2]))


def test_training_over_stages_resumes_bit_for_bit(parts, tmp_path):
    options = (
        *("INPUT.COMPOSITES.STAGES", "[[0, 16], [2, 24], [4, 32]]", "MODEL.COMPOSITES.NET", "unet_small"),
        *("SOLVER.MAX_ITER", 6, "SOLVER.CHECKPOINT_PERIOD", 1),
    )
    whole, _ = train(config("progressive", parts, tmp_path / "whole", *options))

    def die():
        raise Stop

    with pytest.raises(Stop):
        train(config("progressive", parts, tmp_path / "parts", *options), at=3, do=die)
    resumed, _ = train(config("progressive", parts, tmp_path / "parts", *options), resume=True)
    assert equal(whole, resumed)


def test_eva_with_batch_norm_resumes_with_its_running_statistics(parts, tmp_path):
    options = (*MORE["eva"], "SOLVER.IMS_PER_BATCH", 2, "SOLVER.CHECKPOINT_PERIOD", 1, "DATASETS.TEST", "()")
    options = (*options, "DATASETS.FINAL_TEST", "()", "SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR")
    whole, _ = train(config("eva", parts, tmp_path / "whole", *options))

    def die():
        raise Stop

    with pytest.raises(Stop):
        train(config("eva", parts, tmp_path / "parts", *options), at=1, do=die)
    resumed, _ = train(config("eva", parts, tmp_path / "parts", *options), resume=True)
    for one, two in zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_losses_are_not_kept(parts, tmp_path):
    """The original kept the loss tensors of all batches, and their graphs with them."""
    cfg = config("unet_small", parts, tmp_path / "out", "SOLVER.MAX_ITER", 4)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    kept = []
    trainer.register_hooks([hooks.CallbackHook(after_step=lambda t: kept.append(t.storage.latest()))])
    trainer.train()
    values = [value for latest in kept for value, _ in latest.values()]
    assert values and all(isinstance(value, float) and math.isfinite(value) for value in values)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("MODEL.COMPOSITES.NET", "eva"), r"INPUT.COMPOSITES.SIZE=32: .*leaves the net 'eva' no output.* Fix: .*192"),
        (("MODEL.COMPOSITES.NET", "unett"), "MODEL.COMPOSITES.NET=unett: choose one of .* Did you mean unet"),
        (("MODEL.COMPOSITES.MASK_LOSS", "bce+mse"), r"MODEL.COMPOSITES.MASK_LOSS='bce\+mse': cannot read 'mse'"),
        (("MODEL.COMPOSITES.MASK_LOSS", ""), "MODEL.COMPOSITES.MASK_LOSS is empty"),
        (("MODEL.COMPOSITES.DEPTH", False), "MODEL.COMPOSITES.DEPTH_LOSS=.* MODEL.COMPOSITES.DEPTH is False"),
        (("MODEL.COMPOSITES.INPUT", "both"), "MODEL.COMPOSITES.INPUT=both: choose one of pair, composite, grey"),
        (("INPUT.COMPOSITES.STAGES", "[[5, 16]]"), "INPUT.COMPOSITES.STAGES=.*rising iterations, the first at 0"),
        (("INPUT.COMPOSITES.STAGES", "[[0, 16]]"), "INPUT.COMPOSITES.STAGES=.*Fix: INPUT.COMPOSITES.SIZE 16"),
        (("INPUT.DATASET_MAPPER_NAME", "panoptic"), "MaskDepthUNet needs composites. Fix: INPUT.DATASET_MAPPER_NAME"),
        (("MODEL.META_ARCHITECTURE", "FCCLIP"), "FCCLIP reads no composites. Fix: MODEL.META_ARCHITECTURE"),
        (
            ("SOLVER.LR_SCHEDULER_NAME", "ReduceLROnPlateau", "SOLVER.PLATEAU.DATASET", "nowhere"),
            "SOLVER.PLATEAU.DATAS",
        ),
    ],
)
def test_mistakes_are_told_before_any_work(options, told, parts, tmp_path):
    with pytest.raises(ConfigError, match=told):
        config("unet", parts, tmp_path / "out", *options)
