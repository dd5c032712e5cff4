"""What a training is made of, by its config: the datasets, the weights that it starts from, those behind its labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from ...files import local_path
from ..datasets import every_training, present_name
from ..errors import ConfigError
from .provenance import Provenance, Step, decoded, derived, provenance_of, training_set
from .sources import local_weights, weights_to_read

CLIP_KEY = "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS"
_SETTINGS = ("MODEL.META_ARCHITECTURE", "ZSSEG.TRAINING_VOCABULARY", "ZSSEG.DELETED_PIXELS", "SEED")


def of_training(cfg: CfgNode) -> Provenance:
    """Return the provenance of the weights that a training of `cfg` writes.

    Raises:
        CheckpointError: weights that the training starts from are missing.
    """
    settings: dict[str, str] = {}
    for key in _SETTINGS:
        value: Any = cfg
        for part in key.split("."):
            value = value[part]
        settings[key] = str(value)
    files = [local_weights(path, key) for key, path in weights_to_read(cfg).items()]
    files += _own_clip(cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS)
    names = every_training(cfg)
    found = derived("train", files, datasets=[training_set(name) for name in names], settings=settings)
    for name in names:
        found = _with_labels(found, MetadataCatalog.get(name).get("manifest_entry"))
    return found


def of_labels(weights: Mapping[str, str]) -> Provenance:
    """Return the provenance of pseudo-labels.

    Args:
        weights: the files that make them, by config key.

    Raises:
        CheckpointError: a file is missing.
    """
    files = [local_weights(path, key) for key, path in weights.items() if key != CLIP_KEY]
    return derived("make_pseudo_labels", [*files, *_own_clip(weights.get(CLIP_KEY, ""))])


def _own_clip(path: str) -> list[str]:
    """Return the file of a CLIP that says what it was trained on; those of others are pre-trained on web data."""
    file = local_path(path) if path else None
    return [str(file)] if file is not None and file.is_file() and provenance_of(file).step is not None else []


def _with_labels(training: Provenance, manifest_entry: Callable[[], dict] | None) -> Provenance:
    """Add what is behind the weights that made pseudo-labels, under the SHA-256 of the labels."""
    if manifest_entry is None or training.step is None:
        return training
    entry = manifest_entry()
    if "provenance" in entry:
        labels = decoded(entry["provenance"], "pseudo-labels")
    else:  # of an older version
        digests = (entry.get("arguments") or {}).get("weights_sha256") or {}
        labels = Provenance(Step("make_pseudo_labels", parents=tuple(v for k, v in digests.items() if k != CLIP_KEY)))
    digest = entry["panoptic_json_sha256"]
    step = msgspec.structs.replace(training.step, parents=(*training.step.parents, digest))
    return Provenance(step, training.ancestors | labels.ancestors | ({digest: labels.step} if labels.step else {}))


def check_training_sets(cfg: CfgNode, before: Provenance | None, path: str) -> None:
    """Refuse to go on with other datasets than those that a checkpoint says it was trained on.

    Args:
        cfg: the config of the resumed training.
        before: of the checkpoint; None: it does not say.
        path: the checkpoint, for the message.

    Raises:
        ConfigError: naming the datasets of both.
    """
    if before is None or before.step is None:
        return
    trained = {present_name(dataset.name) for dataset in before.step.datasets}
    other = [name for name in every_training(cfg) if present_name(name) not in trained]
    if other:
        raise ConfigError(
            f"--resume: '{path}' was trained on {', '.join(sorted(trained)) or 'no dataset'}, and DATASETS.TRAIN or "
            f"ZSSEG.REPLAY.DATASET names {', '.join(other)} now. Fix: give the same datasets as before, or another "
            "OUTPUT_DIR and the checkpoint as MODEL.WEIGHTS."
        )
