"""Oracle study as a program, behind ``tools/oracle_study.py``: what would true classes, or true masks, be worth?"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluators
from tabulate import tabulate
from torch import Tensor, nn

from ..class_sets import ClassSets
from ..data.panoptic.png import check_segments, read_panoptic_png
from ..evaluation import PanopticQualityEvaluator
from ..evaluation.panoptic.oracle import TrueClassEvaluator, TrueMaskEvaluator, with_classes
from ..evaluation.panoptic.report import write_json
from ..meta_arch.given_masks import name_masks, predicting_model
from .config.setup import setup_cfg
from .errors import ConfigError
from .evaluation import evaluate
from .evaluators import PANOPTIC, evaluator_type
from .run import output_lock, prepare
from .training.loaders import build_test_loader
from .training.trainer import Trainer

logger = logging.getLogger(__name__)

NAME = "oracle_study"
ROWS = {
    "panoptic_seg": "as predicted",
    "true_classes": "true classes, predicted masks",
    "true_masks": "true masks, predicted classes",
}
"""Task of an evaluator -> row of the table."""


def run_oracle_study(args: argparse.Namespace) -> str:
    """Evaluate a model with both oracles on each set of DATASETS.TEST.

    ``oracle_study.json`` and each evaluation's own files are written to OUTPUT_DIR, which is ``oracle_study`` in the
    config's own, unless `args` give it.

    Args:
        args: ``config_file``, ``opts``.

    Returns:
        The table, for the user.

    Raises:
        ConfigError: see the message.
        CheckpointError: weights are missing or do not fit.
    """
    cfg = setup_cfg(args).clone()
    other = [name for name in cfg.DATASETS.TEST if evaluator_type(cfg, name) != PANOPTIC]
    if other:
        raise ConfigError(f"DATASETS.TEST={list(cfg.DATASETS.TEST)}: '{other[0]}' is not panoptic. Fix: name others.")
    if "OUTPUT_DIR" not in args.opts[::2]:
        cfg.defrost()
        cfg.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / NAME)
        cfg.freeze()
    with output_lock(cfg, args, "an oracle study"):
        cfg = prepare(cfg, args)
        model = Trainer.build_model(cfg)
        checkpointer = Trainer.build_checkpointer(cfg, model, read_frozen_parts=False)
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=False)
        found = {name: study(cfg, model, name) for name in cfg.DATASETS.TEST}
        write_json(Path(cfg.OUTPUT_DIR) / f"{NAME}.json", {"weights": cfg.MODEL.WEIGHTS, "datasets": found})
        return "\n\n".join(f"{name}\n{table(scores)}" for name, scores in found.items())


def study(cfg: CfgNode, model: nn.Module, dataset: str) -> dict[str, dict[str, float]]:
    """Return the scores of each row of :data:`ROWS`; true masks are left out where no single FC-CLIP predicts."""
    out = ClassSets.from_config(cfg).evaluation(dataset).out
    kinds = [PanopticQualityEvaluator, TrueClassEvaluator]
    evaluators = DatasetEvaluators([kind(dataset, cfg.OUTPUT_DIR, out_classes=out) for kind in kinds])
    loader = build_test_loader(cfg, dataset)
    found = dict(evaluate(model, loader, evaluators, dataset))
    single = predicting_model(model)
    if single is None:
        logger.warning("%s: several parts predict, and none names given masks.", cfg.MODEL.META_ARCHITECTURE)
        return found
    given = TrueMasks(single, dataset)
    return found | dict(evaluate(given, loader, TrueMaskEvaluator(dataset, cfg.OUTPUT_DIR, out_classes=out), dataset))


def table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Format PQ of All, In and Out, a row an oracle."""
    rows = [
        [label, *(scores[task][key] for key in ("PQ", "PQ_in", "PQ_out"))]
        for task, label in ROWS.items()
        if task in scores
    ]
    return tabulate(rows, headers=["", "PQ All", "In", "Out"], floatfmt=".2f")


class TrueMasks(nn.Module):
    """Returns the annotated segments of each image, except crowds, with the classes that a model gives them.

    Args:
        model: names masks.
        dataset: a registered panoptic dataset, whose complete annotation is read.
    """

    def __init__(self, model: Any, dataset: str) -> None:
        super().__init__()
        self.model = model
        metadata = MetadataCatalog.get(dataset)
        records = (metadata.get("load_complete_records") or (lambda: DatasetCatalog.get(dataset)))()
        self.records = {record["image_id"]: record for record in records}
        self.things = frozenset(metadata.thing_dataset_id_to_contiguous_id.values())

    def forward(self, items: Sequence[dict]) -> list[dict]:
        """Return ``panoptic_seg`` of each item."""
        return [{"panoptic_seg": self._segments(item)} for item in items]

    def _segments(self, item: Mapping) -> tuple[Tensor, list[dict]]:
        record = self.records[item["image_id"]]
        path = record["pan_seg_file_name"]
        ids = read_panoptic_png(path, (item["height"], item["width"]))
        check_segments(ids, record["segments_info"], path)
        segments = [s for s in record["segments_info"] if not s["iscrowd"] and (ids == s["id"]).any()]
        if not segments:
            return torch.zeros(ids.shape, dtype=torch.int64), []
        size = item["image"].shape[-2:]
        masks = torch.stack([_resized(torch.from_numpy(ids == s["id"]), size) for s in segments])
        found, named = with_classes(ids, segments, name_masks(self.model, item, masks).tolist(), self.things)
        return torch.from_numpy(found), named


def _resized(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a mask (H, W) bool to the size of the model's input; what would vanish keeps the pixels it covers most."""
    share = F.interpolate(mask[None, None].float(), size=tuple(size), mode="bilinear", antialias=True)[0, 0]
    return share >= share.max().clamp(max=0.5)
