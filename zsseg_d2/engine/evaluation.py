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

from ..class_sets import evaluated_out_classes
from ..data.panoptic.mapper import read_rgb
from ..data.panoptic.png import read_panoptic_png
from .referring_task import is_referring
from .training.hooks import logs_above_bars, show_bars

logger = logging.getLogger(__name__)


def build_evaluator(cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
    """Panoptic quality, class-wise arithmetic for the naive intersection, pictures where ZSSEG.VIS_IMAGES asks for them;
    the scores of referring segmentation for phrases."""
    from ..evaluation import ClasswiseArithmeticEvaluator, PanopticQualityEvaluator

    if is_referring(cfg):
        return _referring_evaluators(cfg, dataset_name)
    out = evaluated_out_classes(cfg, dataset_name)
    evaluators: list[DatasetEvaluator] = [
        PanopticQualityEvaluator(
            dataset_name, cfg.OUTPUT_DIR, out_classes=out, save_predictions=cfg.ZSSEG.SAVE_PREDICTIONS
        )
    ]
    if cfg.MODEL.META_ARCHITECTURE == "NaiveIntersection":
        evaluators.append(ClasswiseArithmeticEvaluator(dataset_name, cfg.OUTPUT_DIR, out_classes=out))
    if cfg.ZSSEG.VIS_IMAGES > 0:
        folder = Path(cfg.OUTPUT_DIR) / "inference" / dataset_name / "visualizations"
        evaluators.append(PictureEvaluator(dataset_name, folder, cfg.ZSSEG.VIS_IMAGES))
    return DatasetEvaluators(evaluators)


def _referring_evaluators(cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
    from ..evaluation.referring.phrase_visualization import PhrasePictureEvaluator
    from ..evaluation.referring.referring_evaluator import ReferringEvaluator

    threshold = cfg.MODEL.REFERRING.THRESHOLD
    evaluators: list[DatasetEvaluator] = [
        ReferringEvaluator(
            dataset_name, cfg.OUTPUT_DIR, threshold=threshold, save_predictions=cfg.ZSSEG.SAVE_PREDICTIONS
        )
    ]
    if cfg.ZSSEG.VIS_IMAGES > 0:
        folder = Path(cfg.OUTPUT_DIR) / "inference" / dataset_name / "visualizations"
        evaluators.append(PhrasePictureEvaluator(dataset_name, folder, cfg.ZSSEG.VIS_IMAGES, threshold))
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
        from ..evaluation.panoptic.visualization import save_comparison

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
