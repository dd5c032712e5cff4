"""Config keys that the engine and the data read are seen to arrive; those of models: ``tests/meta_arch``."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from functools import reduce
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import pytest
import torch
from detectron2.config import CfgNode
from torch import nn

from zsseg_d2.data.panoptic.augmentations import jitter_augmentations, resize_augmentations
from zsseg_d2.engine.checkpoints import wise_ft
from zsseg_d2.engine.evaluators import build_evaluator
from zsseg_d2.engine.pseudo_labeling import labeling
from zsseg_d2.engine.referring_task import training_samples
from zsseg_d2.engine.training.plateau import PLATEAU
from zsseg_d2.engine.training.solver import build_lr_scheduler, build_optimizer, parameter_rules
from zsseg_d2.engine.training.trainer import Trainer


class Row(NamedTuple):
    """A key, a value that is not its default, and what reads it: ``read(cfg)`` is the value, or ``expected``."""

    key: str
    value: Any
    read: Callable[[CfgNode], Any]
    more: tuple = ()
    expected: Any = None


class _Reached(Exception):
    """The function that takes the value was called; what comes after it does not matter."""


def called(owner: Any, name: str, call: Callable[[], Any]) -> mock.call:
    """Return the arguments of the first call of a function, which is not carried out."""
    with mock.patch.object(owner, name, side_effect=_Reached) as spy, pytest.raises(_Reached):
        call()
    return spy.call_args


ARGUMENTS = argparse.Namespace(debug=True, eval_only=True, machine_rank=0, zero_shot="", fine_tuned="")


def timeout_of_runs(cfg):
    run = importlib.import_module("zsseg_d2.engine.run")  # the package's own `run` is the function
    with mock.patch.object(run, "setup_cfg", return_value=cfg):
        return called(run, "launch", lambda: run.run(ARGUMENTS)).kwargs["timeout"]


def timeout_of_wise_ft(cfg):
    with mock.patch.object(wise_ft, "settings", return_value=cfg), mock.patch.object(wise_ft.Pair, "read"):
        return called(wise_ft, "launch", lambda: wise_ft.run_wise_ft(ARGUMENTS)).kwargs["timeout"]


def timeout_of_labelling(cfg):
    call = called(labeling, "launch", lambda: labeling._label_in_processes(SimpleNamespace(cfg=cfg), 2, True))
    return call.kwargs["timeout"]


def strictness_of_wise_ft(cfg):
    pair = SimpleNamespace(at=lambda alpha: {}, paths=("", ""), digests=("", ""))
    with mock.patch.object(Trainer, "build_model", return_value=nn.Identity()):
        call = called(wise_ft, "load_state", lambda: wise_ft.evaluate_alphas(cfg, pair, [0.5]))
    return call.kwargs["strict"]


def threshold_of_words(cfg):
    (evaluator,) = build_evaluator(cfg, "tiny_engine_val")._evaluators
    return evaluator._threshold


def pseudo_labels(cfg):
    """Thresholds of segments, and the settings of regions."""
    cfg.merge_from_list(["ZSSEG.PSEUDO_LABELS.REGIONS", True])
    args = argparse.Namespace(configuration="008", split="train", output=str(cfg.OUTPUT_DIR))
    with mock.patch.object(labeling, "labelling_config", return_value=cfg), mock.patch.object(labeling, "family_of"):
        return called(labeling, "PseudoLabelSet", lambda: labeling.make_pseudo_labels(args)).args[4:6]


def phrases(cfg):
    return training_samples(cfg, [{"phrase": "red car", "image_id": 1}, {"phrase": "bus", "image_id": 2}])[1]


def optimizer(cfg):
    return build_optimizer(cfg, nn.Linear(1, 1))


def rules(cfg):
    model = nn.ModuleDict({"backbone": nn.Linear(1, 1), "norm": nn.LayerNorm(1)})
    return {rule.name: rule for rule in parameter_rules(cfg, model)}


def rates(cfg):
    """After scores of which only the first is an improvement; each other one halves the rate of 1."""
    p = ("SOLVER.PLATEAU.PATIENCE", 0, "SOLVER.PLATEAU.FACTOR", 0.5, "SOLVER.BASE_LR", 1.0)
    cfg.merge_from_list(["SOLVER.LR_SCHEDULER_NAME", PLATEAU, *p])
    schedule = build_lr_scheduler(cfg, optimizer(cfg))
    found = []
    for score in (1.0, 0.0, 0.0, 0.0):
        schedule.observe(score)
        found.append(schedule.factor)
    return found


def of(augmentations, name):
    return next(a for a in augmentations if type(a).__name__ == name)


def shortest_edge(cfg):
    return of(resize_augmentations(cfg), "ResizeShortestEdge")


def jitter(cfg):
    return of(jitter_augmentations(cfg), "ResizeScale")


LABELS = "ZSSEG.PSEUDO_LABELS."
SGD = ("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", 0.5)
RATE_ONE, TWO_SIZES = ("SOLVER.BASE_LR", 1.0), ("INPUT.MIN_SIZE_TRAIN", (20, 28))
AUTO = ("MODEL.META_ARCHITECTURE", "AutoVocabularyFCCLIP")
ROWS = {
    "a run waits": Row("ZSSEG.PROCESS_TIMEOUT", 7, timeout_of_runs),
    "WiSE-FT waits": Row("ZSSEG.PROCESS_TIMEOUT", 7, timeout_of_wise_ft),
    "labelling waits": Row("ZSSEG.PROCESS_TIMEOUT", 7, timeout_of_labelling),
    "checkpoints": Row("ZSSEG.STRICT_WEIGHTS", False, lambda c: Trainer.build_checkpointer(c, nn.Linear(1, 1)).strict),
    "WiSE-FT": Row("ZSSEG.STRICT_WEIGHTS", False, strictness_of_wise_ft),
    "words": Row("ZSSEG.WORD_COSINE", 0.7, threshold_of_words, AUTO),
    "regions": Row(LABELS + "MIN_DELETED", 0.3, lambda c: pseudo_labels(c)[1].min_deleted),
    "parts of regions": Row(LABELS + "MIN_SHARE", 0.7, lambda c: pseudo_labels(c)[1].min_share),
    "sure segments": Row(LABELS + "MIN_SCORE", 0.8, lambda c: pseudo_labels(c)[0].min_score),
    "visible segments": Row(LABELS + "MIN_VISIBLE", 0.9, lambda c: pseudo_labels(c)[0].min_visible),
    "large segments": Row(LABELS + "MIN_AREA", 9, lambda c: pseudo_labels(c)[0].min_area),
    "large regions": Row(LABELS + "MIN_AREA", 9, lambda c: pseudo_labels(c)[1].min_area),
    "negative phrases": Row("INPUT.PHRASE.NEGATIVE_PROBABILITY", 0.4, lambda c: phrases(c).negative_probability),
    "no negative phrases": Row(
        "INPUT.PHRASE.NEGATIVE_PROBABILITY", 0.0, lambda c: phrases(c).negatives is None, expected=True
    ),
    "image size": Row("INPUT.IMAGE_SIZE", 64, lambda c: jitter(c).target_width),
    "smallest": Row("INPUT.MIN_SCALE", 0.5, lambda c: jitter(c).min_scale),
    "largest": Row("INPUT.MAX_SCALE", 1.5, lambda c: jitter(c).max_scale),
    "sizes": Row("INPUT.MIN_SIZE_TRAIN_SAMPLING", "range", lambda c: shortest_edge(c).is_range, TWO_SIZES, True),
    "momentum": Row("SOLVER.NESTEROV", True, lambda c: optimizer(c).defaults["nesterov"], SGD),
    "norms": Row("SOLVER.WEIGHT_DECAY_NORM", 0.02, lambda c: rules(c)["norm.weight"].weight_decay),
    "backbone": Row("SOLVER.BACKBONE_MULTIPLIER", 0.5, lambda c: rules(c)["backbone.weight"].lr, RATE_ONE),
    "cooldown": Row("SOLVER.PLATEAU.COOLDOWN", 1, rates, expected=[1.0, 0.5, 0.5, 0.25]),
    "least rate": Row("SOLVER.PLATEAU.MIN_FACTOR", 0.3, rates, expected=[1.0, 0.5, 0.3, 0.3]),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=[f"{row.key}-{name}" for name, row in ROWS.items()])
def test_a_value_arrives(make_config, row):
    torch.manual_seed(0)
    found = row.read(make_config(*row.more, row.key, row.value))
    assert found == (row.value if row.expected is None else row.expected)
    default = make_config(*row.more)
    assert reduce(lambda node, part: node[part], row.key.split("."), default) != row.value
    assert row.read(default) != found, "a default that arrives proves nothing"
