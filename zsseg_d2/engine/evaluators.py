"""Which evaluators score a dataset: a registry by the ``evaluator_type`` of its metadata, open to others."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from fvcore.common.registry import Registry

from ..class_sets import ClassSets
from ..data.annotations import read_annotation
from ..data.images.reading import ImageRules, read_annotated_rgb
from .referring_task import EVALUATOR as REFERRING
from .referring_task import is_referring

logger = logging.getLogger(__name__)

AUTO_VOCABULARY = "AutoVocabularyFCCLIP"
"""The meta-architecture whose images have words of their own."""

PANOPTIC = "zsseg_panoptic"
"""``evaluator_type`` of datasets with panoptic annotations."""

EVALUATOR_REGISTRY = Registry("EVALUATOR")
"""Functions that build the evaluators of a dataset, by the ``evaluator_type`` of its metadata.

A function of that name takes the config and the name of the dataset, and returns a list of Detectron2's
``DatasetEvaluator``. ``docs/extending.md`` has an example.
"""


def evaluator_type(cfg: CfgNode, dataset_name: str) -> str:
    """Return the registered ``evaluator_type`` of a dataset; the one of the model's own task if it has none."""
    found = MetadataCatalog.get(dataset_name).get("evaluator_type", "")
    return found if found in EVALUATOR_REGISTRY else REFERRING if is_referring(cfg) else PANOPTIC


def build_evaluator(cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
    """Build the evaluators of a dataset.

    Args:
        cfg: the config of the run; ZSSEG.SAVE_PREDICTIONS and ZSSEG.VIS_IMAGES add to what is written.
        dataset_name: a registered dataset.
    """
    return DatasetEvaluators(EVALUATOR_REGISTRY.get(evaluator_type(cfg, dataset_name))(cfg, dataset_name))


@EVALUATOR_REGISTRY.register()
def zsseg_panoptic(cfg: CfgNode, dataset_name: str) -> list[DatasetEvaluator]:
    """Build panoptic quality, class-wise arithmetic for the naive intersection, and visualizations.

    Without panoptic maps (MODEL.MASK_FORMER.TEST.PANOPTIC_ON False), the semantic output is scored.
    """
    from ..evaluation import ClasswiseArithmeticEvaluator, PanopticQualityEvaluator

    if cfg.MODEL.META_ARCHITECTURE == AUTO_VOCABULARY:
        return _auto_vocabulary(cfg, dataset_name)
    if not cfg.MODEL.MASK_FORMER.TEST.PANOPTIC_ON:
        return zsseg_semantic(cfg, dataset_name)
    out = ClassSets.from_config(cfg).evaluation(dataset_name).out
    save = cfg.ZSSEG.SAVE_PREDICTIONS
    evaluators: list[DatasetEvaluator] = [
        PanopticQualityEvaluator(
            dataset_name, cfg.OUTPUT_DIR, out_classes=out, save_predictions=save, beside=cfg.ZSSEG.MEASURES
        )
    ]
    if cfg.MODEL.META_ARCHITECTURE == "NaiveIntersection":
        evaluators.append(ClasswiseArithmeticEvaluator(dataset_name, cfg.OUTPUT_DIR, out_classes=out))
    return evaluators + _visualizations(cfg, dataset_name)


@EVALUATOR_REGISTRY.register()
def zsseg_semantic(cfg: CfgNode, dataset_name: str) -> list[DatasetEvaluator]:
    """Build the scores of the semantic output, and visualizations."""
    from ..evaluation.semantic import SemanticEvaluator

    if cfg.MODEL.META_ARCHITECTURE == AUTO_VOCABULARY:
        return _auto_vocabulary(cfg, dataset_name)
    out = ClassSets.from_config(cfg).evaluation(dataset_name).out
    save = cfg.ZSSEG.SAVE_PREDICTIONS
    scores = SemanticEvaluator(dataset_name, cfg.OUTPUT_DIR, out=out, save_predictions=save)
    return [scores, *_visualizations(cfg, dataset_name)]


def _visualizations(cfg: CfgNode, dataset_name: str) -> list[DatasetEvaluator]:
    if cfg.ZSSEG.VIS_IMAGES <= 0:
        return []
    folder = visualization_folder(cfg, dataset_name)
    return [VisualizationEvaluator(dataset_name, folder, cfg.ZSSEG.VIS_IMAGES, ImageRules.from_config(cfg))]


def _auto_vocabulary(cfg: CfgNode, dataset_name: str) -> list[DatasetEvaluator]:
    """Build the scores of found words and their maps."""
    from ..evaluation.auto_vocabulary import AutoVocabularyEvaluator

    for key in ("SAVE_PREDICTIONS", "MEASURES", "VIS_IMAGES"):
        if cfg.ZSSEG[key]:
            logger.warning(
                "ZSSEG.%s=%s: left out, because each image has classes of its own. Use tools/predict.py --words auto "
                "for pictures of the segments.",
                key,
                cfg.ZSSEG[key],
            )
    return [
        AutoVocabularyEvaluator(
            dataset_name,
            cfg.OUTPUT_DIR,
            classes=ClassSets.from_config(cfg).evaluation(dataset_name).vocabulary.classes,
            mapping_file=cfg.ZSSEG.WORD_MAPPING,
            embed=partial(_text_rows, cfg),
            threshold=cfg.ZSSEG.WORD_COSINE,
        )
    ]


def _text_rows(cfg: CfgNode, names: Sequence[str]) -> np.ndarray:
    """Embed names by the text tower of a config, with all prompts, as (len(names), E)."""
    from ..modeling.clip.frozen import FrozenCLIP
    from ..modeling.clip.text_classifier import compute_text_row

    clip = FrozenCLIP.build(cfg.MODEL.FC_CLIP.CLIP_MODEL_NAME, cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS)

    def embed(texts: list[str]) -> torch.Tensor:
        return F.normalize(clip.embed_texts(texts), dim=-1)

    return torch.cat([compute_text_row(embed, name) for name in names]).numpy()


@EVALUATOR_REGISTRY.register()
def zsseg_referring(cfg: CfgNode, dataset_name: str) -> list[DatasetEvaluator]:
    """Build the scores of phrase segmentation, and visualizations."""
    from ..evaluation.referring.phrase_visualization import PhraseVisualizer
    from ..evaluation.referring.referring_evaluator import ReferringEvaluator

    threshold, save = cfg.MODEL.REFERRING.THRESHOLD, cfg.ZSSEG.SAVE_PREDICTIONS
    evaluators: list[DatasetEvaluator] = [
        ReferringEvaluator(dataset_name, cfg.OUTPUT_DIR, threshold=threshold, save_predictions=save)
    ]
    if cfg.ZSSEG.VIS_IMAGES > 0:
        folder = visualization_folder(cfg, dataset_name)
        evaluators.append(
            PhraseVisualizer(dataset_name, folder, cfg.ZSSEG.VIS_IMAGES, threshold, ImageRules.from_config(cfg))
        )
    return evaluators


@EVALUATOR_REGISTRY.register()
def zsseg_composites(cfg: CfgNode, dataset_name: str) -> list[DatasetEvaluator]:
    """Build the scores of masks and depths of composites, beside the subtraction baseline."""
    from ..evaluation.composites.evaluator import CompositeEvaluator
    from .composite_baseline import subtraction_threshold, validation_set
    from .composite_task import test_samples

    records, _ = test_samples(cfg, dataset_name)
    validation = validation_set(dataset_name)
    return [
        CompositeEvaluator(
            dataset_name,
            [record["image_id"] for record in records],
            cfg.OUTPUT_DIR,
            threshold=cfg.MODEL.COMPOSITES.THRESHOLD,
            depth_span=cfg.MODEL.COMPOSITES.DEPTH_MAX,
            validation=partial(subtraction_threshold, cfg, validation) if validation else None,
        )
    ]


def visualization_folder(cfg: CfgNode, dataset_name: str) -> Path:
    """Return the folder of the visualizations of a dataset, below OUTPUT_DIR."""
    return Path(cfg.OUTPUT_DIR) / "inference" / dataset_name / "visualizations"


class VisualizationEvaluator(DatasetEvaluator):
    """Write image, prediction and ground truth side by side for some images, evenly spread over the dataset.

    Args:
        dataset_name: a registered panoptic or semantic dataset.
        folder: ``<image_id>.png`` are written there.
        count: number of images.
        rules: limits of images, and what their EXIF orientation means; None: the defaults.
    """

    def __init__(self, dataset_name: str, folder: Path, count: int, rules: ImageRules | None = None) -> None:
        self._metadata = MetadataCatalog.get(dataset_name)
        load = self._metadata.get("load_complete_records") or (lambda: DatasetCatalog.get(dataset_name))
        records = load()
        count = min(count, len(records))
        chosen = [records[k * len(records) // count] for k in range(count)]
        self._records = {record["image_id"]: record for record in chosen}
        self._folder, self._rules = folder, rules

    def reset(self) -> None:
        pass

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        from ..evaluation.panoptic.visualization import save_comparison

        for item, output in zip(inputs, outputs):
            record = self._records.get(item["image_id"])
            if record is None:
                continue
            ids, segments = output["panoptic_seg"] if "panoptic_seg" in output else _as_segments(output["sem_seg"])
            height, width = ids.shape
            image = read_annotated_rgb(record["file_name"], (height, width), self._rules)
            truth, annotated = read_annotation(record, (height, width))
            save_comparison(
                self._folder / f"{item['image_id']}.png",
                image,
                (ids.cpu().numpy(), segments),
                (truth, annotated),
                self._metadata,
            )

    def evaluate(self) -> OrderedDict:
        logger.info("Visualizations of %d images are in %s", len(self._records), self._folder)
        return OrderedDict()


def _as_segments(scores: torch.Tensor) -> tuple[torch.Tensor, list[dict]]:
    """Return the most likely class of each pixel as a panoptic map, from scores (K, H, W)."""
    ids = scores.argmax(0) + 1
    return ids, [{"id": i, "category_id": i - 1, "isthing": False} for i in ids.unique().tolist()]
