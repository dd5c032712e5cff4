"""The config of pseudo-labelling: the model's keys and weights, and a check that they have not seen the labels."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable, Sequence

from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import META_ARCH_REGISTRY

from ... import add_zsseg_config
from ...class_sets import ClassSets, EvalClasses
from ...data.panoptic.family import family_of
from ...files import local_path
from ...meta_arch import FrozenQueriesFCCLIP, NaiveIntersection
from ...vocabulary import Vocabulary, packaged_vocabularies
from ..checkpoints.provenance import Provenance, Step, provenance_of, training_set
from ..checkpoints.sources import local_weights, weights_to_read
from ..checkpoints.training_provenance import CLIP_KEY
from ..config.references import leaves
from ..config.setup import setup_cfg
from ..errors import ConfigError

logger = logging.getLogger(__name__)

# Keys that cannot change a prediction, whose files are compared by hash, or of which the resolved classes are compared.
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
    return {**found, CLIP_KEY: clip} if clip and local_path(clip).is_file() else found


def settings_that_matter(cfg: CfgNode, classes: EvalClasses | None = None) -> dict:
    """Return what a prediction depends on beside weights and vocabulary, in JSON's types.

    These are the keys that have not their default, and the classes that datasets and lists give to them.

    Args:
        cfg: the config.
        classes: of the vocabulary in use; None: any, such as words that are found in each image.
    """
    default = get_cfg()
    add_zsseg_config(default)
    usual = dict(leaves(default))
    matters = ("MODEL.", "ZSSEG.", "INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST", "INPUT.FORMAT")
    found = {
        key: value
        for key, value in leaves(cfg)
        if key.startswith(matters) and not key.startswith(_IRRELEVANT) and value != usual[key]
    }
    if cfg.INPUT.EXIF_ORIENTATION == "ignore":  # images that "refuse" lets through are the same by "apply"
        found["INPUT.EXIF_ORIENTATION"] = cfg.INPUT.EXIF_ORIENTATION
    return json.loads(json.dumps({**found, **_classes_that_matter(cfg, classes)}))


def _classes_that_matter(cfg: CfgNode, classes: EvalClasses | None) -> dict[str, Sequence]:
    """Return the classes that a prediction depends on and that neither keys nor vocabulary tell, with their synonyms.

    These are classes of the vocabulary in use; of any vocabulary, the lists that decide about its words. Nobody knows
    what a method from outside the package reads, so all are returned for it.
    """
    sets = ClassSets.from_config(cfg)
    tested, training, words = sets.evaluation(), sets.training, sets.training.vocabulary
    method = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    foreign = not method.__module__.startswith(f"{__name__.partition('.')[0]}.")
    found: dict[str, Sequence] = {}
    if classes is None:
        found["kinds"] = [[synonyms, k in tested.things] for k, synonyms in enumerate(tested.vocabulary.classes)]
    seen_in, listed = cfg.ZSSEG.SEEN_CLASSES, cfg.ZSSEG.PRETRAINING_VOCABULARY
    if foreign or seen_in != "pretraining" or listed not in packaged_vocabularies():  # else the keys tell
        if classes is not None:
            found["seen"] = _chosen(classes.vocabulary, (k for k, seen in enumerate(classes.seen) if seen))
        else:
            known = [] if seen_in == "training" else [*Vocabulary.load(listed).classes]
            trained = _chosen(words, (k for k in range(len(words)) if k not in training.deleted))
            found["seen"] = known + (trained if seen_in != "pretraining" else [])
    if foreign or issubclass(method, NaiveIntersection):
        found["out"] = _chosen((classes or tested).vocabulary, (classes or tested).out)
    if foreign or issubclass(method, FrozenQueriesFCCLIP):
        found["learned"] = _chosen(words, (k for k in training.kept if k not in training.unlabeled))
        if classes is not None and found["learned"]:
            known_again = classes.vocabulary.seen_in(Vocabulary(tuple(found["learned"])))
            found["learned"] = _chosen(classes.vocabulary, (k for k, known in enumerate(known_again) if known))
    return found


def _chosen(vocabulary: Vocabulary, positions: Iterable[int]) -> list[tuple[str, ...]]:
    """Return some classes of a vocabulary; there may be none."""
    return [vocabulary.classes[k] for k in positions]


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
