"""Training hooks: a progress bar, a warning about slow loading, and a clean stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from detectron2.engine import HookBase
from detectron2.engine.hooks import EvalHook
from detectron2.utils import comm
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

logger = logging.getLogger(__name__)


def show_bars() -> bool:
    """Return whether this process draws progress bars: the main one, on a terminal."""
    return comm.is_main_process() and sys.stderr.isatty()


def logs_above_bars() -> ExitStack:
    """Return a context in which log lines appear above a progress bar instead of across it."""
    stack = ExitStack()
    if show_bars():
        loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore", "zsseg_d2")]
        stack.enter_context(logging_redirect_tqdm([entry for entry in loggers if entry.handlers]))
    return stack


class AfterStep(HookBase):
    """Let the model do what follows each step of the optimizer, before anything is saved or evaluated."""

    def after_step(self) -> None:
        model = getattr(self.trainer.model, "module", self.trainer.model)
        if hasattr(model, "after_step"):
            model.after_step()


class Evaluation(EvalHook):
    """Detectron2's evaluation in training; not after a failure, where other processes may be gone."""

    def after_train(self) -> None:
        if not self.trainer.failed:
            super().after_train()


class ProgressBar(HookBase):
    """Show loss, learning rate and remaining time on a terminal; elsewhere there are Detectron2's log lines."""

    def __init__(self) -> None:
        self._logs = ExitStack()
        self._bar = tqdm(disable=True)  # where an earlier hook ends the training before it begins

    def before_train(self) -> None:
        self._logs = logs_above_bars()
        self._bar = tqdm(
            total=self.trainer.max_iter,
            initial=self.trainer.start_iter,
            desc="training",
            unit="iteration",
            dynamic_ncols=True,
            disable=not show_bars(),
        )

    def after_step(self) -> None:
        if not self._bar.disable:
            latest = self.trainer.storage.latest()
            shown = {"loss": latest.get("total_loss"), "lr": latest.get("lr")}
            shown = {k: f"{v[0] if isinstance(v, tuple) else v:.4g}" for k, v in shown.items() if v is not None}
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def after_train(self) -> None:
        self._bar.close()
        self._logs.close()


class DataLoadingMonitor(HookBase):
    """Warn once per run if training waits for data.

    ``data_time`` is how long an iteration waited for its batch, ``time`` how long all of it took. Workers load while
    the model computes, so loading that keeps up costs no waiting. Register it after the hook that records ``time``.

    Args:
        num_workers: DATALOADER.NUM_WORKERS, for the advice.
    """

    WINDOW = 50  # iterations that are judged together
    FEWEST = 10  # iterations that suffice at the end of training
    SHARE = 0.1  # of the time that may pass in waiting

    def __init__(self, num_workers: int) -> None:
        self._num_workers = num_workers
        self._warned = False

    def before_train(self) -> None:
        self._warned = False

    def after_step(self) -> None:
        if (self.trainer.iter + 1 - self.trainer.start_iter) % self.WINDOW == 0:
            self._judge()

    def after_train(self) -> None:
        self._judge()

    def _judge(self) -> None:
        # By iteration: the first few have no "time", and processes other than the main one no "data_time".
        recorded = self.trainer.storage.histories()
        if self._warned or not {"time", "data_time"} <= recorded.keys():
            return
        times, waits = (
            {iteration: seconds for seconds, iteration in recorded[key].values()[-self.WINDOW :]}
            for key in ("time", "data_time")
        )
        pairs = sorted((waits[i], times[i]) for i in times.keys() & waits.keys())[
            :-1
        ]  # without the longest wait, which may be an exception
        if len(pairs) < self.FEWEST:
            return
        wait, total = (sum(column) / len(pairs) for column in zip(*pairs))
        if wait > self.SHARE * total:
            self._warned = True
            logger.warning(
                "Loading took %.3g s of each %.3g s iteration: training waits for data. %s",
                wait,
                total,
                loading_advice(self._num_workers, usable_cores()),
            )


def usable_cores() -> int:
    """Count the cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def loading_advice(num_workers: int, cores: int) -> str:
    """Return what may help if loading is too slow."""
    if num_workers < cores:
        return f"Raise DATALOADER.NUM_WORKERS (now {num_workers}; {cores} cores are usable here)."
    return (
        f"DATALOADER.NUM_WORKERS is {num_workers} and {cores} {'core is' if cores == 1 else 'cores are'} usable here: "
        "keep images on a fast local disk, smaller, or in a format that decodes faster (JPEG instead of PNG)."
    )


class Interrupted(KeyboardInterrupt):
    """Training was stopped from outside after an iteration, and saved."""


class StopOnSignal(HookBase):
    """Finish the iteration, save and stop on Ctrl-C or SIGTERM; a second Ctrl-C stops at once.

    The processes of one training agree on the iteration after which they stop.
    """

    def __init__(self) -> None:
        self._asked = False
        self._previous: dict = {}

    def before_train(self) -> None:
        self._asked = False
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True
        if comm.is_main_process():
            tqdm.write(
                "Stopping after this iteration; its weights will be saved. Ctrl-C again stops at once.", sys.stderr
            )

    def after_step(self) -> None:
        if any(comm.all_gather(self._asked)) and self.trainer.iter + 1 < self.trainer.max_iter:
            self.stop()

    def stop(self) -> None:
        """Save the iteration that just ended.

        Raises:
            Interrupted: always.
        """
        trainer = self.trainer
        name = f"model_{trainer.iter:07d}"
        if not trainer.checkpointer.get_checkpoint_file().endswith(f"{name}.pth"):
            trainer.checkpointer.save(name, iteration=trainer.iter)
        comm.synchronize()
        raise Interrupted(f"stopped after iteration {trainer.iter}")

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Stop at the first Ctrl-C or SIGTERM, as in an evaluation; the iteration before it is saved."""
        for number in self._previous:
            signal.signal(number, signal.default_int_handler)
        try:
            yield
        except KeyboardInterrupt:
            if self.trainer.iter < self.trainer.max_iter:
                self.stop()
            raise
        finally:
            for number in self._previous:
                signal.signal(number, self._ask)

    def after_train(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
