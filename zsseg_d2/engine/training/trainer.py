"""Detectron2's trainer with this project's optimizer, loaders, checkpoints and evaluation."""

from __future__ import annotations

import logging
import os
import weakref
from collections import OrderedDict
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, TrainerBase, hooks
from detectron2.engine.train_loop import HookBase
from detectron2.evaluation import DatasetEvaluator, print_csv_format, verify_results
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from numpy.random import SeedSequence
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .. import evaluation, evaluators
from ..checkpoints.checkpointer import ZssegCheckpointer
from ..checkpoints.provenance import ENTRY, provenance_of
from ..checkpoints.resuming import FINAL, check_iteration, check_trainer_state, checkpoint_to_resume, misfit
from ..checkpoints.training_provenance import check_training_sets, of_training
from ..composite_task import has_composites
from ..errors import CheckpointError, ConfigError
from ..run_record import earlier_checkpoints
from . import loaders, solver
from .composite_samples import CompositeVisualizer
from .divergence import CheckedAMPTrainer, CheckedTrainer
from .hooks import AfterStep, DataLoadingMonitor, Evaluation, ProgressBar, StopOnSignal
from .plateau import PLATEAU, PlateauHook
from .samples import SampleVisualizer
from .study import prepare_study

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Trains any registered meta-architecture, on CUDA or CPU, in one process or several.

    An iteration is a function of the weights, the seed and the iteration's number: its images and their augmentation
    (:mod:`zsseg_d2.engine.training.loaders`), and the model's own random numbers, which are seeded each time. So a
    resumed run continues as if it had not stopped.

    Args:
        cfg: the config of the run. A negative SEED is replaced by a new one.
    """

    def __init__(self, cfg: CfgNode) -> None:
        # Detectron2's own constructor puts CPU models on a CUDA device when there are several processes, and reads
        # checkpoints as pickles; this one builds the same parts, in the same order.
        TrainerBase.__init__(self)
        cfg = self.auto_scale_workers(with_seed(cfg), comm.get_world_size())
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        loader = self.build_train_loader(cfg)
        model = distribute(model)
        step = CheckedAMPTrainer if cfg.SOLVER.AMP.ENABLED else CheckedTrainer
        self._trainer = step(model, loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = self.build_checkpointer(cfg, model, trainer=weakref.proxy(self))
        self.start_iter = 0
        self._restored = False
        self._complete = False  # the final checkpoint is the last one
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Build the model of a config, and log its size.

        Raises:
            ConfigError: the model refuses the config.
        """
        try:
            model = build_model(cfg)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        total = sum(p.numel() for p in model.parameters())
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        logger.info(
            "%s on %s: %.2f million parameters, %.2f million trainable",
            cfg.MODEL.META_ARCHITECTURE,
            cfg.MODEL.DEVICE,
            total / 1e6,
            trainable / 1e6,
        )
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        return solver.build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer):
        return solver.build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_checkpointer(cls, cfg: CfgNode, model: nn.Module, **checkpointables) -> ZssegCheckpointer:
        random_clip = not cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS
        options = {"save_frozen": random_clip, "strict": cfg.ZSSEG.STRICT_WEIGHTS, **checkpointables}
        return ZssegCheckpointer(model, cfg.OUTPUT_DIR, **options)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> loaders.TrainLoader | loaders.ReplayLoader:
        return loaders.build_train_loader(with_seed(cfg))

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str):
        return loaders.build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        return evaluators.build_evaluator(cfg, dataset_name)

    def build_hooks(self) -> list[HookBase | None]:
        main = comm.is_main_process()
        self._stop = StopOnSignal()
        on_plateau = self.cfg.SOLVER.LR_SCHEDULER_NAME == PLATEAU
        return [
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            AfterStep(),
            PlateauHook(self.cfg, self._results_on, self._stop.at_once) if on_plateau else None,
            ProgressBar(),
            DataLoadingMonitor(self.cfg.DATALOADER.NUM_WORKERS),
            self._samples() if self.cfg.ZSSEG.SAMPLES.PERIOD > 0 else None,
            hooks.PeriodicCheckpointer(self.checkpointer, self.cfg.SOLVER.CHECKPOINT_PERIOD) if main else None,
            Evaluation(self.cfg.TEST.EVAL_PERIOD, self._evaluate),
            hooks.PeriodicWriter(self.build_writers(), period=20) if main else None,
            self._stop,
        ]

    def _samples(self) -> HookBase:
        return CompositeVisualizer(self.cfg) if has_composites(self.cfg) else SampleVisualizer(self.cfg)

    def run_step(self) -> None:
        torch.manual_seed(int(SeedSequence([self.cfg.SEED, comm.get_rank(), self.iter]).generate_state(1)[0]))
        self._trainer.optimizer.zero_grad()  # frees the gradients before the forward pass
        super().run_step()

    def resume_or_load(self, resume: bool = True) -> None:
        """Load MODEL.WEIGHTS, or with `resume` the last checkpoint in OUTPUT_DIR, if there is one.

        Raises:
            CheckpointError: see :mod:`zsseg_d2.engine.checkpoints.resuming`.
        """
        folder = self.cfg.OUTPUT_DIR
        path = checkpoint_to_resume(folder, earlier=earlier_checkpoints(folder)) if resume else None
        if path is None:
            self.checkpointer.load(self.cfg.MODEL.WEIGHTS, checkpointables=[])
            return
        self._restored = False
        rest = self.checkpointer.load(str(path))
        if not self._restored:
            raise CheckpointError(
                f"--resume: '{path}' holds weights, but no state of a training. Fix: start from it: MODEL.WEIGHTS "
                f"{path}, without --resume."
            )
        check_iteration(rest, self.iter, str(path))
        self.start_iter = self.iter + 1
        self.checkpointer.provenance = provenance_of(path) if ENTRY in rest else None
        check_training_sets(self.cfg, self.checkpointer.provenance, str(path))
        self._complete = path.name == FINAL

    def train(self) -> dict | None:
        """Train from ``start_iter`` to SOLVER.MAX_ITER, then evaluate.

        Where no iteration is left, the final checkpoint is written if it is missing.

        Returns:
            The results of the last evaluation, on the main process.

        Raises:
            Interrupted: stopped by Ctrl-C or SIGTERM; the last finished iteration is saved.
        """
        if comm.is_main_process() and self.checkpointer.provenance is None:
            self.checkpointer.provenance = of_training(self.cfg)
        if self.start_iter >= self.max_iter:
            return self._finish()
        prepare_study(self.cfg, self.model, resumed=self.start_iter > 0)
        self.data_loader.start_iter = self.start_iter
        self._loop(self.start_iter, self.max_iter)
        return self._verified()

    def _verified(self) -> dict | None:
        """Return the results of the last evaluation, after a comparison with TEST.EXPECTED_RESULTS."""
        results = getattr(self, "_last_eval_results", None)
        if len(self.cfg.TEST.EXPECTED_RESULTS) and comm.is_main_process():
            verify_results(self.cfg, results)
        return results

    def _loop(self, start: int, end: int) -> None:
        """Do what ``TrainerBase.train`` does, but leave what is said of an error to the program."""
        logger.info("Starting training from iteration %d", start)
        self.iter = self.start_iter = start
        self.max_iter = end
        self.failed = False
        with EventStorage(start) as self.storage:
            try:
                self.before_train()
                for self.iter in range(start, end):
                    self.before_step()
                    self.run_step()
                    self.after_step()
                self.iter = end
            except BaseException:  # Ctrl-C too: an iteration was left half-way
                self.failed = True
                raise
            finally:
                self.after_train()

    def _finish(self) -> dict | None:
        """Do what is left of a training without iterations: save and evaluate."""
        done = self.start_iter
        logger.warning("Nothing to train: %d iterations are done, and SOLVER.MAX_ITER is %d.", done, self.max_iter)
        if not done:
            return self.final_test(self.cfg, self.model)
        self.iter = done - 1
        if comm.is_main_process() and not self._complete:
            self.checkpointer.save(Path(FINAL).stem, iteration=self.iter)
        self._loop(done, done)  # evaluates and writes metrics.json
        return self._verified()

    def _results_on(self, dataset: str) -> dict:
        loader, evaluator = self.build_test_loader(self.cfg, dataset), self.build_evaluator(self.cfg, dataset)
        return evaluation.evaluate(self.model, loader, evaluator, dataset)

    def _evaluate(self) -> dict:
        with self._stop.at_once():
            last = self.iter + 1 >= self.max_iter
            self._last_eval_results = (self.final_test if last else self.test)(self.cfg, self.model)
        return self._last_eval_results

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: list[DatasetEvaluator] | None = None) -> dict:
        """Evaluate on every set of DATASETS.TEST.

        Args:
            cfg: the config of the run.
            model: the model.
            evaluators: one per dataset. Default: those of :meth:`build_evaluator`.

        Returns:
            The evaluator's results if there is one test set, else ``{dataset: results}``.
        """
        chosen = [evaluators] if isinstance(evaluators, DatasetEvaluator) else evaluators
        results: dict = OrderedDict()
        for k, name in enumerate(cfg.DATASETS.TEST):
            evaluator = chosen[k] if chosen is not None else cls.build_evaluator(cfg, name)
            results[name] = evaluation.evaluate(model, cls.build_test_loader(cfg, name), evaluator, name)
            if comm.is_main_process():
                print_csv_format(results[name])
        return next(iter(results.values())) if len(results) == 1 else results

    @classmethod
    def final_test(cls, cfg: CfgNode, model: nn.Module) -> dict:
        """Evaluate on every set of DATASETS.TEST, then on every set of DATASETS.FINAL_TEST.

        Returns:
            The results of :meth:`test`, and those of each set of DATASETS.FINAL_TEST under its name.
        """
        results = dict(cls.test(cfg, model) or {})
        for name in cfg.DATASETS.FINAL_TEST:
            further = cfg.clone()
            further.defrost()
            further.DATASETS.TEST = (name,)
            results[name] = cls.test(further, model, [cls.build_evaluator(cfg, name)])
        return results

    def state_dict(self) -> dict:
        """Return iteration, optimizer and gradient scaler, in the layout of Detectron2's main branch."""
        return {**_without_schedule(TrainerBase.state_dict(self)), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Continue from a saved state, with learning rate, decay and schedule of the present config.

        Raises:
            CheckpointError: the optimizer was saved for other parameters.
        """
        check_trainer_state(state_dict, self.optimizer)
        own = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        TrainerBase.load_state_dict(self, _without_schedule(state_dict))
        try:
            self._trainer.load_state_dict(state_dict["_trainer"])
        except (KeyError, ValueError, TypeError) as error:
            raise misfit(str(error)) from error
        self._restored = True
        for group, values in zip(self.optimizer.param_groups, own):
            group.update(values)
        self.scheduler.last_epoch = self.iter + 1
        for group, lr in zip(self.optimizer.param_groups, self.scheduler.get_lr()):
            group["lr"] = lr


def _without_schedule(state: dict) -> dict:
    """Drop the state of schedules: they are functions of the iteration, so that a new MAX_ITER takes effect."""
    return {**state, "hooks": {k: v for k, v in state.get("hooks", {}).items() if k != "LRScheduler"}}


def with_seed(cfg: CfgNode) -> CfgNode:
    """Return `cfg`, with a SEED that all processes share if it has none."""
    if cfg.SEED >= 0:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SEED = int(comm.all_gather(SeedSequence().generate_state(1)[0] % 2**31)[0])
    cfg.freeze()
    return cfg


def distribute(model: nn.Module) -> nn.Module:
    """Wrap a model for gradient exchange if there are several processes, on any device."""
    if comm.get_world_size() == 1:
        return model
    device = next(model.parameters()).device
    devices = None if device.type == "cpu" else [torch.cuda.current_device()]
    return DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)
