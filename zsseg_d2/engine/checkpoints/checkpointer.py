"""Detectron2's checkpointer for this project: reads without running code, writes whole files or none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

from ...files import atomic_path
from ...modeling.referring.clipseg_weights import from_transformers
from ...tensor_files import save_checkpoint
from ..errors import CheckpointError, Diverged
from .loading import State, frozen_clip_prefixes, load_state, not_finite, unwrapped
from .provenance import ENTRY, Provenance
from .reading import read_checkpoint
from .resuming import LAST, checkpoint_to_resume
from .sources import frozen_parts, local_weights, part_weights
from .weight_arithmetic import CLIP, PARTS, kind_of

logger = logging.getLogger(__name__)


class ZssegCheckpointer(DetectionCheckpointer):
    """Save and load models with a frozen CLIP.

    ``.pth``/``.pt`` files are read without running code, and ``.safetensors``; pickles are refused. The frozen
    ``backbone.clip_model.*`` is omitted when saving, as in FC-CLIP's released checkpoints, and not missed when loading.

    Args:
        model: the model, possibly wrapped for distributed training.
        save_dir: folder of the checkpoints.
        save_frozen: whether to save the frozen CLIP too: for random CLIP weights, which no other file holds.
        read_frozen_parts: whether to read the weights of frozen parts, such as a teacher.
        strict: see :func:`zsseg_d2.engine.checkpoints.loading.load_state`.
        checkpointables: further objects with ``state_dict`` and ``load_state_dict``, such as the trainer.

    Attributes:
        provenance: where the weights come from; written into checkpoints.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_frozen: bool = False,
        read_frozen_parts: bool = True,
        strict: bool = True,
        **checkpointables,
    ) -> None:
        super().__init__(model, save_dir, **checkpointables)
        self.save_frozen = save_frozen
        self.read_frozen_parts = read_frozen_parts
        self.strict = strict
        self.provenance: Provenance | None = None
        self._clip: dict[str, Tensor] = {}

    def save(self, name: str, **kwargs) -> None:
        """Write ``save_dir/name.pth`` and point ``last_checkpoint`` to it; an interruption leaves the old files.

        Raises:
            Diverged: a weight is not finite; nothing is written.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        left_out = frozen_parts(self.model)
        left_out += () if self.save_frozen else tuple(frozen_clip_prefixes(self.model))
        state = {k: v for k, v in self.model.state_dict().items() if not k.startswith(left_out)}
        bad = not_finite(state)
        if bad:
            raise Diverged(
                f"Training diverged: {len(bad)} weights are not finite, such as {bad[0]}; {name}.pth is not written, "
                "and the last checkpoint stays. Fix: lower SOLVER.BASE_LR or SOLVER.WEIGHT_DECAY, or set "
                "SOLVER.CLIP_GRADIENTS.ENABLED True, and resume with --resume."
            )
        data = {"model": state, **{key: item.state_dict() for key, item in self.checkpointables.items()}, **kwargs}
        if self.provenance is not None:
            data[ENTRY] = self.provenance.as_entry()
        path = Path(self.save_dir) / f"{name}.pth"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(data, path)
        self.tag_last_checkpoint(path.name)
        logger.info("Saved %s", path)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        with atomic_path(Path(self.save_dir) / LAST) as temporary:
            temporary.write_text(last_filename_basename, encoding="utf-8")

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict:
        """Load the last checkpoint with all its states if `resume` and there is one, else the weights of `path`.

        Raises:
            CheckpointError: see :meth:`load` and :func:`zsseg_d2.engine.checkpoints.resuming.checkpoint_to_resume`.
        """
        last = checkpoint_to_resume(self.save_dir) if resume and self.save_dir else None
        return self.load(path, checkpointables=[]) if last is None else self.load(str(last))

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict:
        """Load weights, and the states named in `checkpointables`. Default: all that the file has.

        A model of several parts takes each part's own file if `path` is empty; a frozen part always does.

        Raises:
            CheckpointError: a file is missing or unreadable, or does not fit the model.
        """
        frozen = frozen_parts(self.model)
        for part, (key, own_path) in part_weights(self.model).items():
            if self.read_frozen_parts if f"{part}." in frozen else not path:
                self._load_part(part, key, own_path)
        if not path:
            if not part_weights(self.model) or frozen:
                logger.info("MODEL.WEIGHTS is empty: the model starts from random weights.")
            return {}
        return super().load(local_weights(path), checkpointables)

    def _load_part(self, part: str, key: str, path: str) -> None:
        if not path:
            raise CheckpointError(f"{key} is empty: {type(self.model).__name__} needs weights for its '{part}'.")
        state = unwrapped(read_checkpoint(local_weights(path, key))["model"])
        if kind_of(state) == "combined":
            raise CheckpointError(
                f"{key}: '{path}' holds two models. Fix: split it first: python tools/combined_weights.py split {path}"
            )
        clip = {k: v for k, v in state.items() if k.startswith(CLIP)}
        if any(not torch.equal(v, clip[k]) for k, v in self._clip.items() if k in clip):
            raise CheckpointError(f"{key}: '{path}' holds another CLIP than the other model's file; both share one.")
        self._clip.update(clip)
        logger.info("%s starts from %s", part, path)
        with _prefixed_errors(f"{key}: '{path}': "):
            module = self.model.get_submodule(part)
            load_state(module, getattr(module, "complete_state", dict)(state), strict=self.strict)

    def _load_file(self, filename: str) -> dict:
        return read_checkpoint(filename)

    def _load_model(self, checkpoint: dict) -> None:
        try:
            state = from_transformers(unwrapped(checkpoint.pop("model")))
        except ValueError as error:
            raise CheckpointError(f"MODEL.WEIGHTS: {error}") from error
        self._check_kind(state)
        state = getattr(self.model, "complete_state", dict)(state)
        load_state(self.model, state, strict=self.strict)

    def _check_kind(self, state: State) -> None:
        """Refuse a checkpoint of one model for an architecture of two, and the other way round."""
        parts = {f"{part}." for part in part_weights(self.model)}
        two, kind = parts.issuperset(PARTS), kind_of(state)
        if two and kind == "single":
            raise CheckpointError(
                "MODEL.WEIGHTS is a file of one model, but this architecture has two. Fix: give it as "
                'ZSSEG.MODEL_ONE.WEIGHTS or ZSSEG.MODEL_TWO.WEIGHTS, with MODEL.WEIGHTS "".'
            )
        if two and kind != "combined":
            raise CheckpointError("MODEL.WEIGHTS does not hold the weights of two models (model_one.*, model_two.*).")
        if not two and kind == "combined":
            raise CheckpointError(
                "MODEL.WEIGHTS is a file of two models, but this architecture has one. Fix: split it first: "
                "python tools/combined_weights.py split <file>"
            )


@contextmanager
def _prefixed_errors(prefix: str) -> Iterator[None]:
    """Put `prefix` before the message of a :class:`CheckpointError`."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{prefix}{error}") from error
