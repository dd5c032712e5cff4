"""What a method learns from labeled images before its first iteration, kept beside the checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from numpy.random import SeedSequence
from torch import Tensor, nn
from tqdm import tqdm

from ...data.panoptic.mapper import PanopticMapper
from ...data.seeding import numpy_seed
from ...meta_arch.base import SegmentationModel, Study
from ...reading import UnusableFile
from ...tensor_files import read_tensors, write_tensors
from ..datasets import study_of
from ..errors import CheckpointError
from .hooks import logs_above_bars, show_bars
from .loaders import evenly_spread, load_records

logger = logging.getLogger(__name__)

FILE = "study.safetensors"
"""In OUTPUT_DIR: what a training found out before its first iteration."""


def prepare_study(cfg: CfgNode, model: nn.Module, *, resumed: bool) -> None:
    """Let a model study the images that its method asks for, if any; a resumed training reads what it had found.

    Each process computes all of it, so that the result does not depend on their number.

    Args:
        cfg: the config of the run, with a SEED.
        model: possibly wrapped for distributed training, with the weights of its frozen parts.
        resumed: whether iterations were done before.

    Raises:
        CheckpointError: what was found before belongs to another model.
    """
    study = study_of(cfg)
    if study is None:
        return
    method: Any = getattr(model, "module", model)
    path = Path(cfg.OUTPUT_DIR) / FILE
    found = _read(path) if resumed else None
    if found is None:
        found = _compute(cfg, method, study)
        if comm.is_main_process():
            write_tensors(path, {name: value.cpu() for name, value in found.items()}, {"dataset": study.dataset})
    try:
        method.use_study(found)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}. Fix: remove it; it is computed anew.") from error


def _compute(cfg: CfgNode, model: SegmentationModel, study: Study) -> dict[str, Tensor]:
    records = evenly_spread(load_records([study.dataset]), study.images)
    logger.info("%s studies %d images of %s", type(model).__name__, len(records), study.dataset)
    with logs_above_bars():
        items = studied_items(cfg, records)
        bar = tqdm(
            items, total=len(records), desc="studying", unit="image", dynamic_ncols=True, disable=not show_bars()
        )
        return model.study(bar)


def studied_items(cfg: CfgNode, records: list[dict]) -> Iterator[dict]:
    """Yield a training item of each record; its augmentation and the model's random numbers follow from SEED."""
    mapper = PanopticMapper(cfg, training=True)
    for position, record in enumerate(records):
        with numpy_seed(cfg.SEED, position):
            item = mapper(record)
        torch.manual_seed(int(SeedSequence([cfg.SEED, position]).generate_state(1)[0]))
        yield item


def _read(path: Path) -> Mapping[str, Tensor] | None:
    try:
        return read_tensors(path).tensors
    except (FileNotFoundError, UnusableFile) as error:
        logger.warning("%s: what was studied cannot be read (%s); it is computed anew.", path, error)
        return None
