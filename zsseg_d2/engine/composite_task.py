"""Composites as a task: records, mappers, and the checks of their config keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from ..data.composites.augmentation import Augmentation
from ..data.composites.composer import Composer
from ..data.composites.dataset import EVALUATOR, CompositeRecords
from ..data.composites.depth import KINDS, NEAR_IS, DepthFormat
from ..data.composites.disturbance import Disturbance
from ..data.composites.mapper import CompositeMapper
from ..data.composites.parts import Parts, find_parts
from ..data.composites.settings import POSITIONS, CompositeSettings
from ..data.composites.splits import split_parts
from ..data.seeding import SeededByImage
from .errors import ConfigError

MAPPER = "composites"
"""Value of INPUT.DATASET_MAPPER_NAME."""

CHOICES: dict[str, tuple[str, ...]] = {
    "INPUT.COMPOSITES.POSITIONS": POSITIONS,
    "INPUT.COMPOSITES.DEPTH_KIND": KINDS,
    "INPUT.COMPOSITES.DEPTH_NEAR_IS": NEAR_IS,
}


def has_composites(cfg: CfgNode) -> bool:
    """Return whether a config reads composites."""
    return cfg.INPUT.DATASET_MAPPER_NAME == MAPPER


def training_samples(cfg: CfgNode) -> tuple[Sequence[dict], CompositeMapper]:
    """Return the records of DATASETS.TRAIN, which are never listed, and their mapper with augmentations."""
    composers = {name: composer(cfg, name) for name in cfg.DATASETS.TRAIN}
    records = [CompositeRecords(name, range(len(made))) for name, made in composers.items()]
    mapper = CompositeMapper(composers, Augmentation.from_config(cfg), Disturbance.from_config(cfg))
    return (records[0] if len(records) == 1 else _Joined(records)), mapper


def test_samples(cfg: CfgNode, dataset_name: str) -> tuple[list[dict], Callable[[dict], dict]]:
    """Return the records of INPUT.COMPOSITES.TEST_IMAGES composites and their mapper, which depend on the set alone."""
    made = composer(cfg, dataset_name)
    records = CompositeRecords(dataset_name, test_indices(len(made), cfg.INPUT.COMPOSITES.TEST_IMAGES))
    mapper = CompositeMapper({dataset_name: made}, disturbance=Disturbance.from_config(cfg))
    return list(records), SeededByImage(mapper)


def test_indices(size: int, count: int) -> np.ndarray:
    """Return `count` different numbers below `size` in rising order, 0: all; one of each equal part of the range."""
    if not 0 < count < size:
        return np.arange(size)
    bounds = np.arange(count + 1) * size // count
    return np.random.default_rng(0).integers(bounds[:-1], bounds[1:])


test_samples.__test__ = test_indices.__test__ = False  # type: ignore[attr-defined]  # pytest takes them for tests


def composer(cfg: CfgNode, dataset_name: str) -> Composer:
    """Return what makes the composites of a registered dataset, as INPUT.COMPOSITES configures it.

    Raises:
        DatasetError: a folder is missing or wrong.
    """
    return Composer(_parts(cfg, dataset_name), CompositeSettings.from_config(cfg))


def _parts(cfg: CfgNode, dataset_name: str) -> Parts:
    metadata, c = MetadataCatalog.get(dataset_name), cfg.INPUT.COMPOSITES
    if not c.FOREGROUNDS:
        return metadata.find_parts()
    found = find_parts(
        c.FOREGROUNDS,
        c.BACKGROUNDS,
        c.FOREGROUND_DEPTH or None,
        c.BACKGROUND_DEPTH or None,
        _depth_format(cfg),
    )
    return split_parts(found)[metadata.split]


def _depth_format(cfg: CfgNode) -> DepthFormat:
    c = cfg.INPUT.COMPOSITES
    return DepthFormat(c.DEPTH_KIND, c.DEPTH_UNIT, c.DEPTH_NEAR_IS if c.DEPTH_KIND == "relative" else "small")


def check_composites(cfg: CfgNode, *, eval_only: bool) -> None:
    """Check the keys of composites.

    Raises:
        ConfigError: a key has a value that does not work.
    """
    names = cfg.DATASETS.TEST if eval_only else (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    for name in names:
        if MetadataCatalog.get(name).get("evaluator_type") != EVALUATOR:
            raise ConfigError(
                f"'{name}' is not a dataset of composites, but INPUT.DATASET_MAPPER_NAME is {MAPPER}. "
                "Fix: composites_train, composites_val or composites_test"
            )
    c = cfg.INPUT.COMPOSITES
    for one, other in (("FOREGROUNDS", "BACKGROUNDS"), ("FOREGROUND_DEPTH", "BACKGROUND_DEPTH")):
        if bool(c[one]) != bool(c[other]):
            given, missing = (one, other) if c[one] else (other, one)
            raise ConfigError(
                f"INPUT.COMPOSITES.{missing} is empty, but INPUT.COMPOSITES.{given} is not. Fix: give both folders."
            )
    if c.FOREGROUND_DEPTH and not c.FOREGROUNDS:
        raise ConfigError("INPUT.COMPOSITES.FOREGROUND_DEPTH: it needs INPUT.COMPOSITES.FOREGROUNDS.")
    try:
        CompositeSettings.from_config(cfg), Disturbance.from_config(cfg), Augmentation.from_config(cfg)
    except ValueError as error:
        raise ConfigError(str(error)) from error


class _Joined(Sequence):
    """Several sequences as one."""

    def __init__(self, parts: Sequence[Sequence[dict]]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, position):
        if not 0 <= position < len(self):
            raise IndexError(position)
        part = int(np.searchsorted(self.ends, position, side="right"))
        return self.parts[part][position - (int(self.ends[part - 1]) if part else 0)]
