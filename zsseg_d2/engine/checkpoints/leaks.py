"""Whether weights have seen ground truth of classes that count as deleted, as far as the files beside them tell."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from ...class_sets import deleted_classes, evaluated_out_classes
from ...vocabulary import Vocabulary
from ..config.yaml_files import read_yaml
from ..errors import ConfigError
from .sources import local_weights, weights_to_read


def data_set_with_labels_of(
    classes: Collection[int], vocabulary: Vocabulary, names: Collection[str]
) -> tuple[str, list[int]] | None:
    """The first data set of `names` with the same vocabulary and ground truth of some of `classes`, and those classes."""
    for name in sorted(set(names) & set(MetadataCatalog.list())):
        trained = MetadataCatalog.get(name)
        if trained.get("vocabulary") != vocabulary:
            continue
        without = {*trained.get("deleted_contiguous_ids", ()), *trained.get("pseudo_label_contiguous_ids", ())}
        if told := sorted(set(classes) - without):
            return name, told
    return None


def trained_on(weights: str, key: str = "MODEL.WEIGHTS") -> list[str]:
    """DATASETS.TRAIN of the training that wrote a weights file, by the ``config.yaml`` beside it; empty where there is none."""
    settings = Path(local_weights(weights, key)).parent / "config.yaml"
    return list((read_yaml(settings).get("DATASETS") or {}).get("TRAIN") or ()) if settings.is_file() else []


def check_weights_saw_no_labels(cfg: CfgNode, *, eval_only: bool) -> None:
    """Refuse to keep deleted classes with weights that were taught them: of a training that starts, or of a merge.

    Raises:
        ConfigError: naming the weights, the data set and the classes. CheckpointError: a file is missing.
    """
    merge = cfg.MODEL.META_ARCHITECTURE == "NaiveIntersection"
    out = evaluated_out_classes(cfg, cfg.DATASETS.TEST[0]) if merge and cfg.DATASETS.TEST else deleted_classes(cfg)
    if not out or (eval_only and not merge):
        return
    vocabulary = MetadataCatalog.get((cfg.DATASETS.TEST if merge else cfg.DATASETS.TRAIN)[0]).get("vocabulary")
    for key, path in weights_to_read(cfg).items():
        found = data_set_with_labels_of(out, vocabulary, trained_on(path, key))
        if found:
            name, told = found
            raise ConfigError(
                f"{key}: '{path}' was trained on '{name}', with ground truth of {', '.join(vocabulary.names[k] for k in told)}, "
                "which count as deleted here. Give weights of a training without it"
                + (", or name the deleted classes: ZSSEG.OUT_CLASSES \"['person', …]\"." if merge else ".")
            )
