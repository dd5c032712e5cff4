"""Evaluation of a model on the test sets of a config: which evaluators, which classes are Out, the loop."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators, inference_on_dataset
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..data.mappers import read_rgb
from ..data.panoptic_png import read_panoptic_png
from .errors import ConfigError, near_matches
from .hooks import logs_above_bars, show_bars

logger = logging.getLogger(__name__)


def out_classes(cfg: CfgNode, dataset_name: str) -> list[int] | None:
    """Contiguous ids of the Out classes: ZSSEG.OUT_CLASSES, else those deleted from the training data set.

    Returns:
        None where neither says anything: the data set's own default then holds (the things, as in configuration 008).
    Raises:
        ConfigError: ZSSEG.OUT_CLASSES has something that is neither a class name nor a label id of the data set.
    """
    metadata = MetadataCatalog.get(dataset_name)
    names = list(metadata.get("stuff_classes", ()))
    if cfg.ZSSEG.OUT_CLASSES:
        by_label = {str(k): v for k, v in metadata.get("stuff_dataset_id_to_contiguous_id", {}).items()}
        by_name = {name: k for k, name in enumerate(names)} | by_label
        for item in cfg.ZSSEG.OUT_CLASSES:
            if str(item) not in by_name:
                raise ConfigError(
                    f"ZSSEG.OUT_CLASSES: '{item}' is neither a class name nor a label id of '{dataset_name}'."
                    + (near_matches(str(item), names) or f" Its classes are {', '.join(names)}.")
                )
        return sorted({by_name[str(item)] for item in cfg.ZSSEG.OUT_CLASSES})
    for name in cfg.DATASETS.TRAIN:
        trained = MetadataCatalog.get(name)
        if list(trained.get("stuff_classes", ())) == names and trained.get("deleted_contiguous_ids"):
            return sorted(trained.deleted_contiguous_ids)
    return None


def build_evaluator(cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
    """Panoptic quality, and pictures where ZSSEG.PICTURES asks for them."""
    from ..evaluation import PanopticQualityEvaluator

    evaluators: list[DatasetEvaluator] = [
        PanopticQualityEvaluator(
            dataset_name,
            cfg.OUTPUT_DIR,
            out_classes=out_classes(cfg, dataset_name),
            save_predictions=cfg.ZSSEG.SAVE_PREDICTIONS,
        )
    ]
    if cfg.ZSSEG.PICTURES > 0:
        folder = Path(cfg.OUTPUT_DIR) / "inference" / dataset_name / "pictures"
        evaluators.append(PictureEvaluator(dataset_name, folder, cfg.ZSSEG.PICTURES))
    return DatasetEvaluators(evaluators)


def evaluate(model: nn.Module, loader: DataLoader, evaluator: DatasetEvaluator, name: str) -> dict:
    """Run a model over a data set; a progress bar on a terminal, a log line every few seconds elsewhere.

    Returns:
        The evaluator's results on the main process, an empty dict on the others.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    logger.info("Evaluating on %s: %d images a process, on %s", name, len(loader), device)
    lines = logging.getLogger("detectron2.evaluation.evaluator")
    level = lines.level
    with logs_above_bars():
        if show_bars():
            lines.setLevel(logging.WARNING)  # the bar says the same
        try:
            bar = tqdm(loader, desc=name, unit="image", dynamic_ncols=True, disable=not show_bars())
            return inference_on_dataset(model, bar, evaluator) or {}
        finally:
            lines.setLevel(level)


class PictureEvaluator(DatasetEvaluator):
    """Writes image, prediction and ground truth side by side for some images, evenly spread over the data set."""

    def __init__(self, dataset_name: str, folder: Path, count: int) -> None:
        """
        Args:
            folder: ``<image_id>.png`` are written there. count: how many.
        """
        self._metadata = MetadataCatalog.get(dataset_name)
        load = self._metadata.get("load_complete_records") or (lambda: DatasetCatalog.get(dataset_name))
        records = load()
        count = min(count, len(records))
        chosen = [records[k * len(records) // count] for k in range(count)]
        self._records = {record["image_id"]: record for record in chosen}
        self._folder = folder

    def reset(self) -> None:
        pass

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        from ..evaluation.pictures import save_comparison

        for item, output in zip(inputs, outputs):
            record = self._records.get(item["image_id"])
            if record is None:
                continue
            ids, segments = output["panoptic_seg"]
            truth = read_panoptic_png(record["pan_seg_file_name"])
            save_comparison(
                self._folder / f"{item['image_id']}.png",
                read_rgb(record["file_name"]),
                (ids.cpu().numpy(), segments),
                (truth, record["segments_info"]),
                self._metadata,
            )

    def evaluate(self) -> OrderedDict:
        logger.info("Pictures of %d images are in %s", len(self._records), self._folder)
        return OrderedDict()
