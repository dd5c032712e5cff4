"""The threshold of the subtraction baseline, chosen on the validation split of a dataset of composites."""

from __future__ import annotations

import logging

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from tqdm import tqdm

from ..evaluation.composites.subtraction import best_threshold, count_differences
from .composite_task import test_samples
from .training.hooks import show_bars

logger = logging.getLogger(__name__)

_chosen: dict[tuple[str, str], int] = {}


def validation_set(dataset_name: str) -> str:
    """Return the validation split that belongs to a test split; "" if there is none, or it is one itself."""
    split = MetadataCatalog.get(dataset_name).get("split", "")
    name = f"{dataset_name.removesuffix(split)}val"
    return name if split and split != "val" and name in DatasetCatalog.list() else ""


def subtraction_threshold(cfg: CfgNode, dataset_name: str) -> tuple[str, int]:
    """Choose the threshold of the subtraction baseline on a validation split; once in a process for each config.

    Returns:
        The name of the split, and the threshold.
    """
    key = (dataset_name, cfg.INPUT.COMPOSITES.dump())
    if key not in _chosen:
        records, mapper = test_samples(cfg, dataset_name)
        items = map(mapper, tqdm(records, f"subtraction on {dataset_name}", unit="image", disable=not show_bars()))
        _chosen[key] = best_threshold(
            [count_differences(i["image"].numpy(), i["background"].numpy(), i["mask"].numpy()) for i in items]
        )
    return dataset_name, _chosen[key]
