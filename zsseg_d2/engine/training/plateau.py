"""The learning rate falls where a validation score stops improving, and a resumed training goes on exactly so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.solver.lr_scheduler import _get_warmup_factor_at_iter
from detectron2.utils import comm
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ..errors import ConfigError, did_you_mean

logger = logging.getLogger(__name__)

PLATEAU = "ReduceLROnPlateau"
"""The value of SOLVER.LR_SCHEDULER_NAME."""
_REMEMBERED = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")


class PlateauLR(LRScheduler):
    """torch's ``ReduceLROnPlateau`` behind a warm-up, as a schedule by iterations like Detectron2's.

    The rate is the base rate × the warm-up's factor × :attr:`factor`, which :meth:`observe` lowers. So a change of the
    base rate or of the warm-up takes effect when a training is resumed.

    Args:
        optimizer: its groups' rates are the base rates.
        warmup: maps an iteration to the factor of the warm-up.
        settings: arguments of ``ReduceLROnPlateau``; its ``min_lr`` is a part of the base rate.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, warmup: Callable[[int], float], settings: Mapping[str, Any]
    ) -> None:
        self._warmup = warmup
        self._of_one = torch.optim.SGD([torch.zeros(())], lr=1.0)
        self._plateau = ReduceLROnPlateau(self._of_one, **settings)
        super().__init__(optimizer)

    @classmethod
    def from_config(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> PlateauLR:
        """Read SOLVER.PLATEAU and SOLVER.WARMUP_*."""
        solver, p = cfg.SOLVER, cfg.SOLVER.PLATEAU
        settings = {"mode": p.MODE, "factor": p.FACTOR, "patience": p.PATIENCE, "threshold": p.THRESHOLD}
        settings |= {"cooldown": p.COOLDOWN, "min_lr": p.MIN_FACTOR, "eps": 0.0}
        warmup = (solver.WARMUP_METHOD, solver.WARMUP_ITERS, solver.WARMUP_FACTOR)
        return cls(optimizer, lambda k: _get_warmup_factor_at_iter(warmup[0], k, warmup[1], warmup[2]), settings)

    @property
    def factor(self) -> float:
        """The part of the base rate that the plateaus so far have left."""
        return float(self._of_one.param_groups[0]["lr"])

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the rate of each group at the present iteration."""
        factor = self._warmup(self.last_epoch) * self.factor
        return [base * factor for base in self.base_lrs]

    def observe(self, score: float) -> None:
        """Take a score into account, and set the rates of the next iteration."""
        self._plateau.step(score)
        for group, rate in zip(self.optimizer.param_groups, self.get_lr()):
            group["lr"] = rate

    def memory(self) -> dict[str, float]:
        """Return what the scores so far have left behind."""
        return {"factor": self.factor, **{name: getattr(self._plateau, name) for name in _REMEMBERED}}

    def recall(self, memory: Mapping[str, float]) -> None:
        """Go on from a :meth:`memory`."""
        self._of_one.param_groups[0]["lr"] = float(memory["factor"])
        for name in _REMEMBERED:
            kind = float if name == "best" else int
            setattr(self._plateau, name, kind(memory[name]))


class PlateauHook(HookBase):
    """Evaluate on SOLVER.PLATEAU.DATASET every PERIOD iterations, and tell the schedule.

    Register it behind the hook that steps the schedule, and before the one that saves checkpoints: a checkpoint holds
    what the evaluation of its iteration led to. A training that was stopped in that evaluation does it when it is
    resumed.

    Args:
        cfg: the config of the run.
        evaluate: evaluates the model on a dataset, and returns the results on the main process.
        stoppable: returns the context of evaluations after an iteration, in which Ctrl-C saves that iteration.
    """

    def __init__(
        self,
        cfg: CfgNode,
        evaluate: Callable[[str], Mapping[str, Any]],
        stoppable: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._settings = cfg.SOLVER.PLATEAU
        self._dataset = plateau_dataset(cfg)
        self._evaluate, self._stoppable = evaluate, stoppable
        self._seen = 0  # iterations that were done at the last evaluation

    def before_train(self) -> None:
        done = self.trainer.start_iter
        if 0 < done < self.trainer.max_iter and done % self._settings.PERIOD == 0 and self._seen < done:
            self._observe(done)

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._settings.PERIOD == 0 and done < self.trainer.max_iter:
            with self._stoppable():
                self._observe(done)

    def _observe(self, done: int) -> None:
        results = self._evaluate(self._dataset)
        found = score_of(results, self._settings.METRIC) if comm.is_main_process() else 0.0
        score = float(comm.all_gather(found)[0])
        schedule = self.trainer.scheduler
        before = schedule.factor
        schedule.observe(score)
        self._seen = done
        self.trainer.storage.put_scalar(f"plateau/{self._settings.METRIC}", score, smoothing_hint=False)
        if schedule.factor < before:
            logger.info(
                "Learning rate × %g after iteration %d: %s on %s is %.4g, and was %.4g at best.",
                schedule.factor / before, done, self._settings.METRIC, self._dataset, score, schedule.memory()["best"],
            )  # fmt: skip

    def state_dict(self) -> dict[str, float]:
        return {"seen": self._seen, **self.trainer.scheduler.memory()}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self._seen = int(state["seen"])
        self.trainer.scheduler.recall(state)


def plateau_dataset(cfg: CfgNode) -> str:
    """Return the dataset whose score decides; "" where there is none."""
    return cfg.SOLVER.PLATEAU.DATASET or (cfg.DATASETS.TEST[0] if cfg.DATASETS.TEST else "")


def score_of(results: Mapping[str, Any], metric: str) -> float:
    """Find a score in the results of an evaluation, ``{task: {metric: value}}``.

    Raises:
        ConfigError: there is no such score.
    """
    scores = {name: value for task in results.values() for name, value in task.items()}
    if metric not in scores:
        raise ConfigError(
            f"SOLVER.PLATEAU.METRIC={metric}: the evaluation has no such score.{did_you_mean(metric, scores)} It has "
            f"{', '.join(scores)}."
        )
    return float(scores[metric])
