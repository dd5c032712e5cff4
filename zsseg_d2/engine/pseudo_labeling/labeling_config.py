"""The config of pseudo-labelling: the model's keys and weights, and a check that they have not seen the labels."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable

from detectron2.config import CfgNode, get_cfg

from ... import add_zsseg_config
from ...data.panoptic.family import family_of
from ...files import local_path
from ..checkpoints.provenance import Provenance, Step, provenance_of, training_set
from ..checkpoints.sources import local_weights, weights_to_read
from ..config.references import leaves
from ..config.setup import setup_cfg
from ..errors import ConfigError

logger = logging.getLogger(__name__)

_CLIP = "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS"
# Keys that cannot change a prediction, or whose files are compared by hash.
_IRRELEVANT = (
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "MODEL.AUTO_VOCABULARY",
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON",
    "MODEL.MASK_FORMER.TEST.INSTANCE_ON",
    "ZSSEG.MEASURES",
    "ZSSEG.WORD_MAPPING",
    "ZSSEG.WORD_COSINE",
    "ZSSEG.OUT_CLASSES",
    "ZSSEG.VIS_IMAGES",
    "ZSSEG.PSEUDO_LABELS",
    "ZSSEG.SAVE_PREDICTIONS",
    "ZSSEG.TEXT_CACHE",
    "ZSSEG.TOWER",
)


def labelling_config(args: argparse.Namespace) -> CfgNode:
    """Return the config of the zero-shot evaluation, reduced to panoptic maps.

    Raises:
        ConfigError: a key has a value that does not work.
    """
    names = argparse.Namespace(config_file=args.config_file, opts=args.opts, eval_only=True, num_gpus=args.num_gpus)
    cfg = setup_cfg(names).clone()
    if cfg.ZSSEG.PSEUDO_LABELS.MIN_AREA < 0:
        raise ConfigError(f"ZSSEG.PSEUDO_LABELS.MIN_AREA={cfg.ZSSEG.PSEUDO_LABELS.MIN_AREA}: it must not be negative.")
    cfg.defrost()
    cfg.MODEL.MASK_FORMER.TEST.SEMANTIC_ON = cfg.MODEL.MASK_FORMER.TEST.INSTANCE_ON = False
    family = family_of(cfg.DATASETS.TEST)
    cfg.DATASETS.TEST = tuple(n for n in cfg.DATASETS.TEST if family.owns(n))[:1]
    cfg.freeze()
    return cfg


def weights_files(cfg: CfgNode) -> dict[str, str]:
    """Map config keys to weights files, including CLIP's if they are a file.

    Raises:
        ConfigError: there are none.
        CheckpointError: a file is missing.
    """
    found = weights_to_read(cfg)
    if not found:
        raise ConfigError(
            "MODEL.WEIGHTS is empty, and random weights make no labels. Fix: give the weights of the zero-shot model: "
            "MODEL.WEIGHTS /path/to/file.pth"
        )
    for key, path in found.items():
        local_weights(path, key)
    clip = cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS
    return {**found, _CLIP: clip} if clip and local_path(clip).is_file() else found


def settings_that_matter(cfg: CfgNode) -> dict:
    """Return the keys that a prediction depends on, without those that have their default, in JSON's types."""
    default = get_cfg()
    add_zsseg_config(default)
    usual = dict(leaves(default))
    matters = ("MODEL.", "ZSSEG.", "INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST", "INPUT.FORMAT")
    found = {
        key: value
        for key, value in leaves(cfg)
        if key.startswith(matters) and not key.startswith(_IRRELEVANT) and value != usual[key]
    }
    return json.loads(json.dumps(found))


def check_no_leak(cfg: CfgNode, configuration: str, weights: Iterable[str]) -> None:
    """Refuse weights that were trained with ground truth of a deleted class, as far as it is known.

    Raises:
        ConfigError: DATASETS.TRAIN, or a training behind the weights, names such a dataset.
    """
    family = family_of(cfg.DATASETS.TEST)
    own = Provenance(Step("train", tuple(training_set(name) for name in cfg.DATASETS.TRAIN)))
    origins = [own, *(provenance_of(local_weights(path)) for path in weights)]
    deleted = family.deleted_ids(configuration)
    if not all(origin.complete for origin in origins):
        logger.warning("The weights do not say what they were trained on; it may be labels of deleted classes.")
    found = next(filter(None, (origin.labels_of(deleted, family.vocabulary) for origin in origins)), None)
    if found:
        raise ConfigError(
            f"The model was trained on '{found[0]}', with ground truth of classes that configuration {configuration} "
            "deletes; pseudo-labels must come from a model that never saw it."
        )
