"""The embedded model on freshly rendered scenes: it segments them, random weights do not, and the files are small."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.evaluation import inference_on_dataset

from zsseg_d2.data.synthetic import write_minicity
from zsseg_d2.data.synthetic.miniphrases import SPLIT_SEEDS
from zsseg_d2.data.synthetic.phrase_scenes import render_view
from zsseg_d2.data.synthetic.phrases import make_phrases
from zsseg_d2.engine import Trainer, setup_cfg
from zsseg_d2.engine.prediction.phrase_segmentation import DEFAULT_CONFIG, DEFAULT_WEIGHTS, build_segmentor, segment
from zsseg_d2.files import local_path


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    write_minicity(folder, train=1, val=50, num_workers=1)  # the default validation scenes
    return folder


def evaluate(root: Path, output: Path, monkeypatch, *options: str) -> dict:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    options = ("OUTPUT_DIR", str(output), "DATALOADER.NUM_WORKERS", "0", "MODEL.DEVICE", "cpu", *options)
    cfg = setup_cfg(argparse.Namespace(config_file="minicity/zero_shot.yaml", opts=list(options), eval_only=True))
    torch.manual_seed(0)
    model = Trainer.build_model(cfg)
    Trainer.build_checkpointer(cfg, model).load(cfg.MODEL.WEIGHTS)
    name = cfg.DATASETS.TEST[0]
    inference_on_dataset(model, Trainer.build_test_loader(cfg, name), Trainer.build_evaluator(cfg, name))
    return json.loads((output / "inference" / name / "panoptic_quality.json").read_text())


def test_zero_shot_beats_random_weights(root, tmp_path, monkeypatch):
    report = evaluate(
        root, tmp_path / "zero_shot", monkeypatch, "ZSSEG.VIS_IMAGES", "2", "ZSSEG.SAVE_PREDICTIONS", "True"
    )
    assert report["num_images"] == 50
    for group, published in (("All", 41.14), ("In", 55.28), ("Out", 21.69)):  # README, "Results"
        assert report[group]["PQ"] == pytest.approx(published, abs=0.3), group
    assert report["per_class"]["road"]["PQ"] > 60
    pictures = tmp_path / "zero_shot" / "inference" / "minicity_panoptic_val" / "visualizations"
    assert len(list(pictures.glob("*.png"))) == 2
    half = evaluate(root, tmp_path / "bfloat16", monkeypatch, "MODEL.PRECISION", "bfloat16")
    assert 0 < abs(half["All"]["PQ"] - report["All"]["PQ"]) < 0.2
    random = evaluate(root, tmp_path / "random", monkeypatch, "MODEL.WEIGHTS", "")
    assert random["All"]["PQ"] < 2


def test_embedded_weights_are_small():
    folder = local_path("zsseg_d2://weights")
    assert 0 < sum(f.stat().st_size for f in folder.iterdir()) < 20e6


def test_the_embedded_model_of_phrases_hears_them():
    """On pictures of MiniPhrases test, masks fit their own phrase far better than another about the same image."""
    cfg = setup_cfg(
        argparse.Namespace(
            config_file=DEFAULT_CONFIG, opts=["MODEL.WEIGHTS", DEFAULT_WEIGHTS, "MODEL.DEVICE", "cpu"], eval_only=True
        )
    )
    model = build_segmentor(cfg)
    own, other = [], []
    for seed in range(SPLIT_SEEDS["test"], SPLIT_SEEDS["test"] + 48, 6):
        view = render_view(seed)
        phrases = make_phrases(view, np.random.default_rng(seed))
        truths = [np.isin(view.index, sum(phrase.instances, ())) for phrase in phrases]
        for k, found in enumerate(segment(model, view.image, [phrase.text for phrase in phrases])):
            own.append(_iou(found.mask, truths[k]))
            other += [_iou(found.mask, truths[k - 1])] if (truths[k] != truths[k - 1]).any() else []
    assert len(own) > 30 and len(other) > 20
    assert np.mean(own) > 0.35 and np.mean(own) > 2 * np.mean(other)


def _iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return (mask & truth).sum() / max(1, (mask | truth).sum())
