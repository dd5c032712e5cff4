"""Composites as a task: records, mappers, and the checks of their config keys."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY

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
TASK = "composites"
"""``task`` of architectures that read composites."""

Mapper = Callable[[dict], dict]

CHOICES: dict[str, tuple[str, ...]] = {
    "INPUT.COMPOSITES.POSITIONS": POSITIONS,
    "INPUT.COMPOSITES.DEPTH_KIND": KINDS,
    "INPUT.COMPOSITES.DEPTH_NEAR_IS": NEAR_IS,
}


def has_composites(cfg: CfgNode) -> bool:
    """Return whether a config reads composites."""
    return cfg.INPUT.DATASET_MAPPER_NAME == MAPPER


def has_composite_net(cfg: CfgNode) -> bool:
    """Return whether the architecture of a config reads composites."""
    return getattr(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE), "task", "") == TASK


def training_samples(cfg: CfgNode) -> tuple[Sequence[dict], CompositeMapper | StagedMapper]:
    """Return the records of DATASETS.TRAIN, which are never listed, and their mapper with augmentations.

    With INPUT.COMPOSITES.STAGES, the mapper makes the same composites at each stage's own size.
    """
    stages = [(first, _training_mapper(_of_side(cfg, side))) for first, side in training_sides(cfg)]
    records = [CompositeRecords(name, range(len(made))) for name, made in stages[0][1].composers.items()]
    mapper = stages[0][1] if len(stages) == 1 else StagedMapper(stages, cfg.SOLVER.IMS_PER_BATCH)
    return (records[0] if len(records) == 1 else _Joined(records)), mapper


def training_sides(cfg: CfgNode) -> list[tuple[int, int]]:
    """Return the first iteration and the side in pixels of each stage of training."""
    return [(first, side) for first, side in cfg.INPUT.COMPOSITES.STAGES] or [(0, cfg.INPUT.COMPOSITES.SIZE)]


def _of_side(cfg: CfgNode, side: int) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.COMPOSITES.SIZE = side
    cfg.freeze()
    return cfg


def _training_mapper(cfg: CfgNode) -> CompositeMapper:
    composers = {name: composer(cfg, name) for name in cfg.DATASETS.TRAIN}
    return CompositeMapper(composers, Augmentation.from_config(cfg), Disturbance.from_config(cfg))


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
    _check_stages(cfg)
    try:
        CompositeSettings.from_config(cfg), Disturbance.from_config(cfg), Augmentation.from_config(cfg)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_stages(cfg: CfgNode) -> None:
    stages = cfg.INPUT.COMPOSITES.STAGES
    if not stages:
        return
    firsts, sides = zip(*stages)
    if firsts[0] != 0 or list(firsts) != sorted(set(firsts)) or min(sides) < 8:
        raise ConfigError(
            f"INPUT.COMPOSITES.STAGES={stages}: stages begin at rising iterations, the first at 0, with sides of at "
            "least 8 pixels. Fix: such as [[0, 64], [1000, 96], [2000, 192]]"
        )
    if sides[-1] != cfg.INPUT.COMPOSITES.SIZE:
        raise ConfigError(
            f"INPUT.COMPOSITES.STAGES={stages}: the last stage has another size than the evaluation. Fix: "
            f"INPUT.COMPOSITES.SIZE {sides[-1]}"
        )


def check_nets(cfg: CfgNode, *, eval_only: bool) -> None:
    """Check that the architecture reads composites, and that its net has an output at the sizes of training.

    Raises:
        ConfigError: it does not.
    """
    architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    if not has_composites(cfg):
        raise ConfigError(
            f"INPUT.DATASET_MAPPER_NAME={cfg.INPUT.DATASET_MAPPER_NAME}: {cfg.MODEL.META_ARCHITECTURE} needs "
            f"composites. Fix: INPUT.DATASET_MAPPER_NAME {MAPPER}"
        )
    if not has_composite_net(cfg):
        raise ConfigError(
            f"INPUT.DATASET_MAPPER_NAME={MAPPER}: {cfg.MODEL.META_ARCHITECTURE} reads no composites. Fix: "
            "MODEL.META_ARCHITECTURE MaskDepthUNet"
        )
    try:
        architecture.check_config(cfg)
        if not eval_only:
            for _, side in training_sides(cfg):
                architecture.check_size(cfg, side)
    except ValueError as error:
        raise ConfigError(str(error)) from error


class StagedMapper:
    """Mappers that follow one another in training.

    Args:
        stages: first iteration and mapper of each, the first at iteration 0.
        batch_size: samples of an iteration.
    """

    def __init__(self, stages: Sequence[tuple[int, Mapper]], batch_size: int) -> None:
        self.firsts, self.mappers = zip(*stages)
        self.batch_size = batch_size

    def at(self, position: int) -> Mapper:
        """Return the mapper of a sample by its position in training, counted over all processes."""
        return self.mappers[bisect_right(self.firsts, position // self.batch_size) - 1]

    def __call__(self, record: dict) -> dict:
        """Map a record as in the first stage."""
        return self.mappers[0](record)


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
