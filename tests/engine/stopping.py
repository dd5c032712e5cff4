"""Trainings that end early, as by a crash."""

from __future__ import annotations

from contextlib import suppress

from detectron2.config import CfgNode
from detectron2.engine import hooks

from zsseg_d2.engine.training.trainer import Trainer


class Stop(Exception):
    """The crash."""


def train(cfg: CfgNode, resume: bool = False, stop_before: int | None = None) -> Trainer:
    """Train up to the end, or to ``stop_before``, as a crash would end it."""
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)

    def crash(running) -> None:
        if running.iter == stop_before:
            raise Stop

    trainer.register_hooks([hooks.CallbackHook(before_step=crash)])
    with suppress(Stop):
        trainer.train()
    return trainer
