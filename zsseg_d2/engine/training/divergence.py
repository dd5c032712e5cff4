"""Training that diverges ends at once: where, which loss, which images, and what to try."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.engine.train_loop import AMPTrainer, SimpleTrainer
from detectron2.utils.events import get_event_storage
from torch import Tensor

from ...reading import printable
from ..errors import Diverged

_SHOWN = 4  # images


def check_losses(losses: Mapping[str, Tensor], images: Sequence[str], iteration: int) -> None:
    """Check the losses of this process.

    Args:
        losses: () by name.
        images: files of the batch.
        iteration: number of the iteration.

    Raises:
        Diverged: a loss is not finite.
    """
    values = {name: float(value.detach()) for name, value in losses.items()}
    bad = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    if bad:
        shown = [*map(printable, dict.fromkeys(images)), *(["…"] if len(set(images)) > _SHOWN else [])][: _SHOWN + 1]
        raise Diverged(
            f"Training diverged in iteration {iteration}: {', '.join(bad)}; images: {', '.join(shown) or 'unknown'}. "
            "Fix: lower SOLVER.BASE_LR, raise SOLVER.WARMUP_ITERS or set SOLVER.CLIP_GRADIENTS.ENABLED True, and look "
            "at these images and their labels; --resume continues from the last checkpoint, whose weights are finite."
        )


class _ChecksLosses:
    """Adds the check to a step of Detectron2, before the optimizer takes its step."""

    def _write_metrics(self, loss_dict: Mapping[str, Tensor], *rest: Any, **options: Any) -> None:
        images = getattr(self.data_loader, "latest", ())  # type: ignore[attr-defined]
        check_losses(loss_dict, images, get_event_storage().iter)
        super()._write_metrics(loss_dict, *rest, **options)  # type: ignore[misc]


class CheckedTrainer(_ChecksLosses, SimpleTrainer):
    """Detectron2's step in float32."""


class CheckedAMPTrainer(_ChecksLosses, AMPTrainer):
    """Detectron2's step with automatic mixed precision."""
