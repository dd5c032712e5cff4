"""Check that weights have not seen ground truth of deleted classes, as far as the configs next to them tell."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY

from ...class_sets import ClassSets
from ...vocabulary import Vocabulary
from ..config.yaml_files import read_yaml
from ..errors import ConfigError
from .sources import local_weights, weights_to_read


def data_set_with_labels_of(
    classes: Collection[int], vocabulary: Vocabulary, names: Collection[str]
) -> tuple[str, list[int]] | None:
    """Return the first dataset with that vocabulary and ground truth of some of `classes`, and those classes."""
    for name in sorted(set(names) & set(MetadataCatalog.list())):
        trained = MetadataCatalog.get(name)
        if trained.get("vocabulary") != vocabulary:
            continue
        without = {*trained.get("deleted_contiguous_ids", ()), *trained.get("pseudo_label_contiguous_ids", ())}
        if labelled := sorted(set(classes) - without):
            return name, labelled
    return None


def trained_on(weights: str, key: str = "MODEL.WEIGHTS") -> list[str]:
    """Return DATASETS.TRAIN of the training that wrote a weights file, from the ``config.yaml`` next to it, if any."""
    settings = Path(local_weights(weights, key)).parent / "config.yaml"
    return list((read_yaml(settings).get("DATASETS") or {}).get("TRAIN") or ()) if settings.is_file() else []


def check_weights_saw_no_labels(cfg: CfgNode, *, eval_only: bool) -> None:
    """Refuse weights that were trained with labels of deleted classes, at the start of a training or for a merge.

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
    for key, path in weights_to_read(cfg).items():
        found = data_set_with_labels_of(out, vocabulary, trained_on(path, key))
        if found:
            name, labelled = found
            raise ConfigError(
                f"{key}: '{path}' was trained on '{name}', with ground truth of "
                f"{', '.join(vocabulary.names[k] for k in labelled)}, which count as deleted here. Fix: give weights "
                "of a training without it"
                + (", or name the deleted classes: ZSSEG.OUT_CLASSES \"['person', …]\"." if merge else ".")
            )
