"""Refuse weights that have seen ground truth of deleted classes."""

from __future__ import annotations

import logging

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY

from ...class_sets import ClassSets
from ..errors import ConfigError
from .provenance import provenance_of
from .sources import local_weights, weights_to_read

logger = logging.getLogger(__name__)


def check_weights_saw_no_labels(cfg: CfgNode, *, eval_only: bool, resumed: str = "") -> None:
    """Refuse weights that were trained with labels of deleted classes, at the start of a training or for a merge.

    Weights of which nothing is known are a warning.

    Args:
        cfg: the config of the run.
        eval_only: only a merge of two models is checked.
        resumed: the checkpoint that a resumed training starts from.

    Raises:
        ConfigError: naming the weights, the dataset and the classes.
        CheckpointError: a file is missing.
    """
    architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    if getattr(architecture, "task", "panoptic") != "panoptic":
        return  # phrases have no classes, and their configs no NUM_CLASSES that fits
    merge = not getattr(architecture, "trainable", True)
    classes = ClassSets.from_config(cfg)
    out = classes.evaluation().out if merge and cfg.DATASETS.TEST else classes.training.unlabeled
    if not out or (eval_only and not merge):
        return
    vocabulary = MetadataCatalog.get((cfg.DATASETS.TEST if merge else cfg.DATASETS.TRAIN)[0]).get("vocabulary")
    files = weights_to_read(cfg, resume=bool(resumed)) | ({"--resume": resumed} if resumed else {})
    for key, path in files.items():
        provenance = provenance_of(local_weights(path, key))
        if found := provenance.labels_of(out, vocabulary):
            name, labelled = found
            raise ConfigError(
                f"{key}: '{path}' was trained on '{name}', with ground truth of "
                f"{', '.join(vocabulary.names[k] for k in labelled)}, which count as deleted here. Fix: give weights "
                "of a training without it"
                + (", or name the deleted classes: ZSSEG.OUT_CLASSES \"['person', …]\"." if merge else ".")
            )
        if not provenance.complete:
            logger.warning(
                "%s: '%s' or weights that it was made of do not say what they were trained on; whether they saw labels "
                "of deleted classes is not known. Fix: if you know it, write it into a copy: python "
                "tools/export_weights.py %s COPY.safetensors --trained-on DATASET",
                key,
                path,
                path,
            )
