"""What happens beside the training steps: a progress bar, and an orderly stop."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from detectron2.engine import HookBase
from detectron2.utils import comm
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

logger = logging.getLogger(__name__)


def show_bars() -> bool:
    """Whether this process draws progress bars: the main one, on a terminal."""
    return comm.is_main_process() and sys.stderr.isatty()


def logs_above_bars() -> ExitStack:
    """A context in which log lines appear above a progress bar instead of across it."""
    stack = ExitStack()
    if show_bars():
        loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore", "zsseg_d2")]
        stack.enter_context(logging_redirect_tqdm([entry for entry in loggers if entry.handlers]))
    return stack


class ProgressBar(HookBase):
    """A bar with loss, learning rate and remaining time, on a terminal; elsewhere Detectron2's log lines must do."""

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


class Interrupted(KeyboardInterrupt):
    """Training was stopped from outside after a whole iteration, and saved."""


class StopOnSignal(HookBase):
    """Ctrl-C or SIGTERM: finish the iteration, save, stop. A second Ctrl-C stops at once.

    Processes of one training agree on the iteration after which they stop.
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
            tqdm.write("Stopping after this iteration; its weights will be saved. Ctrl-C again stops at once.", sys.stderr)

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
        """Between iterations, as in an evaluation: the first Ctrl-C stops, and the last iteration is saved."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
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
