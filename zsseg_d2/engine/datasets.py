"""Whether the files of registered datasets are there, before anything is fetched or built for them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY

from ..data import PANOPTIC_FAMILIES
from ..data.errors import DatasetError
from ..meta_arch.base import Study

_PLACES = ("image_root", "panoptic_root", "panoptic_json", "sem_seg_root", "root")
"""Metadata that name a folder or file of a dataset."""


def check_datasets_exist(cfg: CfgNode, *, training: bool) -> None:
    """Look for the files of a config's datasets; those that are rendered at their first use need not be there.

    Args:
        cfg: the config of the run.
        training: whether DATASETS.TRAIN is read, too.

    Raises:
        DatasetError: what is missing, and how to make it.
    """
    for key, names in (
        ("DATASETS.TRAIN", cfg.DATASETS.TRAIN if training else ()),
        *((key, (name,)) for key, name in further_training(cfg).items() if training),
        ("DATASETS.TEST", cfg.DATASETS.TEST),
        ("DATASETS.FINAL_TEST", cfg.DATASETS.FINAL_TEST),
    ):
        for name in names:
            try:
                find_dataset(name)
            except (DatasetError, OSError) as error:
                raise DatasetError(f"{key}: {name}: {error}") from error


def further_training(cfg: CfgNode) -> dict[str, str]:
    """Map config key to dataset for those whose labels a training reads besides DATASETS.TRAIN."""
    named = {"ZSSEG.REPLAY.DATASET": cfg.ZSSEG.REPLAY.DATASET}
    study = study_of(cfg)
    if study is not None:
        named[study.key] = study.dataset
    return {key: name for key, name in named.items() if name}


def study_of(cfg: CfgNode) -> Study | None:
    """Return which labeled images the method of a config studies before its first iteration; None: none."""
    name = cfg.MODEL.META_ARCHITECTURE
    architecture = META_ARCH_REGISTRY.get(name) if name in META_ARCH_REGISTRY else None
    return getattr(architecture, "study_of", lambda _: None)(cfg)


def every_training(cfg: CfgNode) -> tuple[str, ...]:
    """Return the datasets of DATASETS.TRAIN, and those of :func:`further_training` behind them."""
    return tuple(dict.fromkeys((*cfg.DATASETS.TRAIN, *further_training(cfg).values())))


def present_name(name: str) -> str:
    """Return the present name of a dataset that an older version may have written."""
    return name.replace("_train_invocab_", "_train_pseudo_labels_")


def every_test(cfg: CfgNode) -> tuple[str, ...]:
    """Return the datasets of DATASETS.TEST, and those of DATASETS.FINAL_TEST behind them."""
    return (*cfg.DATASETS.TEST, *cfg.DATASETS.FINAL_TEST)


def find_dataset(name: str) -> None:
    """Look for the files of a dataset.

    Raises:
        DatasetError: what is missing, and how to make it.
    """
    metadata = MetadataCatalog.get(name)
    places = [metadata.get(key) for key in _PLACES]
    there = all(place is None or Path(place).exists() for place in places)
    pseudo_labels = metadata.get("pseudo_label_contiguous_ids") is not None
    if not there and (pseudo_labels or not name.startswith(tuple(rendered_prefixes()))):
        DatasetCatalog.get(name)  # names what is missing, or finds it where DETECTRON2_DATASETS points now


def rendered_prefixes() -> Iterable[str]:
    """Yield the prefixes of datasets that are made at their first use, all but their pseudo-labels."""
    yield from ("miniphrases_", "composites_")
    yield from (f"{family.prefix}_" for family in PANOPTIC_FAMILIES.values() if family.prepare is not None)
