"""Which checkpoint a training resumes from, and whether its state fits: nothing is guessed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from msgspec import Meta

from ...reading import UnusableFile, explain, printable, read_text
from ..errors import CheckpointError

LAST = "last_checkpoint"
FINAL = "model_final.pth"
_NAME = re.compile(r"[\w.-]*\w\.pth", re.ASCII)
_LONGEST = 4096  # bytes of `last_checkpoint`


class SavedOptimizer(msgspec.Struct):
    """The optimizer's part of a trainer's state: by position of the parameter, what the optimizer keeps of it."""

    state: dict[int, dict[str, Any]]
    param_groups: list[dict[str, Any]]


class SavedLoop(msgspec.Struct):
    """The part of a trainer's state that belongs to Detectron2's training loop."""

    optimizer: SavedOptimizer
    iteration: int = 0


class SavedTrainer(msgspec.Struct, rename={"loop": "_trainer"}):
    """The ``trainer`` entry of a checkpoint."""

    iteration: Annotated[int, Meta(ge=0)]
    loop: SavedLoop
    hooks: dict[str, dict[str, Any]] = {}


def checkpoint_to_resume(folder: str | Path, *, earlier: Collection[str] = ()) -> Path | None:
    """Return the checkpoint that ``last_checkpoint`` names; None if the training has saved none.

    Args:
        folder: OUTPUT_DIR.
        earlier: names of checkpoints that another training left in the folder before this one began.

    Raises:
        CheckpointError: ``last_checkpoint`` is missing beside checkpoints, leads out of the folder, or names a file
            that is not there.
    """
    folder = Path(folder)
    last = folder / LAST
    there = sorted(path.name for path in folder.glob("model_*.pth"))
    if not last.exists():
        unknown = [name for name in there if name not in earlier]
        if unknown:
            raise CheckpointError(
                f"--resume: {printable(last)} is missing, but there are checkpoints, such as {printable(unknown[-1])}. "
                f"Fix: write the name of the one to resume from into that file, or give another OUTPUT_DIR."
            )
        return None
    try:
        name = read_text(last, limit=_LONGEST).strip()
    except UnusableFile as error:
        raise CheckpointError(f"--resume: {error}") from error
    among = f"the name of a checkpoint in its folder ({', '.join(map(printable, there[-3:])) or 'there is none'})"
    if not _NAME.fullmatch(name):
        raise CheckpointError(f"--resume: {printable(last)} does not hold a file name. Fix: write {among} into it.")
    if not (folder / name).is_file():
        raise CheckpointError(f"--resume: {printable(last)} names '{name}', which is not there. Fix: write {among}.")
    return folder / name


def untag_checkpoints(folder: str | Path) -> list[str]:
    """Remove ``last_checkpoint``, for a training that begins anew, and return the names of the checkpoints there are.

    Else resuming the new training before its first checkpoint would continue the old one.
    """
    folder = Path(folder)
    (folder / LAST).unlink(missing_ok=True)
    return sorted(path.name for path in folder.glob("model_*.pth"))


def check_trainer_state(state: object, optimizer: torch.optim.Optimizer) -> None:
    """Check the saved state of a trainer before it is used.

    Args:
        state: the ``trainer`` entry of a checkpoint.
        optimizer: of the present training.

    Raises:
        CheckpointError: the state is not complete, or belongs to other parameters.
    """
    try:
        saved = msgspec.convert(state, SavedTrainer).loop.optimizer
    except msgspec.ValidationError as error:
        place, problem = explain(error)
        raise misfit(f"'{place or 'trainer'}' {problem}") from None
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not all(0 <= k < len(parameters) for k in saved.state):
        raise misfit("it has more parameters than the model")
    for k, values in saved.state.items():
        for name, value in values.items():
            if not isinstance(value, torch.Tensor):
                continue
            if value.dim() and value.shape != parameters[k].shape:
                raise misfit(f"{printable(name)} of parameter {k} has the shape {tuple(value.shape)}")
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise misfit(f"{printable(name)} of parameter {k} is not finite")


def check_iteration(rest: Mapping[str, Any], iteration: int, path: str) -> None:
    """Compare the iteration that a checkpoint names beside its trainer's.

    Raises:
        CheckpointError: they differ.
    """
    if rest.get("iteration", iteration) != iteration:
        raise CheckpointError(
            f"--resume: {printable(path)} is of two iterations, {iteration} and {printable(rest['iteration'])}. Fix: "
            f"write the name of another checkpoint into {LAST}."
        )


def misfit(reason: str) -> CheckpointError:
    """Return the error of a trainer's state that cannot be used."""
    return CheckpointError(
        f"The checkpoint's optimizer does not belong to this model and config ({reason}). Fix: resume with the config "
        "of the interrupted run, or start from its weights: MODEL.WEIGHTS <checkpoint>, without --resume."
    )
