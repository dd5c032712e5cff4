"""Find contradictions and misspellings of a config before any long work."""

from __future__ import annotations

import logging
from collections.abc import Collection

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY

from ...auto_vocabulary.registry import CAPTIONER_REGISTRY
from ...class_sets import SEEN_CLASSES, TRAINING_VOCABULARIES, ClassSets
from ...data.images.reading import EXIF_RULES
from ...data.panoptic.family import SEMANTIC
from ...data.panoptic.mapper import MAPPERS
from ...evaluation.panoptic.beside import MEASURES
from ...meta_arch.base import SegmentationModel
from ...meta_arch.mask_depth_unet import INPUTS
from ...modeling.fcclip.matcher import PAIRINGS
from ...modeling.fusion import FUSIONS
from ...modeling.merging import PRIORITIES
from ...modeling.registries import COMPOSITE_NET_REGISTRY, PIXEL_DECODER_REGISTRY, TRANSFORMER_DECODER_REGISTRY
from ...registry import NamedRegistry
from ...vocabulary import Vocabulary
from .. import composite_task as composites
from .. import referring_task as referring
from ..checkpoints.sources import weights_to_read
from ..datasets import every_test, every_training, further_training
from ..errors import ConfigError, did_you_mean, explanation
from ..evaluators import AUTO_VOCABULARY, PANOPTIC, evaluator_type
from ..training.plateau import PLATEAU, plateau_dataset
from .keys import check_values

logger = logging.getLogger(__name__)

CHOICES: dict[str, tuple[str, ...] | NamedRegistry] = {
    "INPUT.DATASET_MAPPER_NAME": (*MAPPERS, "phrase", composites.MAPPER),
    "INPUT.FORMAT": ("RGB",),
    "INPUT.EXIF_ORIENTATION": EXIF_RULES,
    "INPUT.RANDOM_FLIP": ("horizontal", "vertical", "none"),
    "MODEL.PRECISION": ("float32", "bfloat16"),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": ("choice", "range"),
    "INPUT.CROP.TYPE": ("relative", "relative_range", "absolute", "absolute_range"),
    "DATALOADER.SAMPLER_TRAIN": ("TrainingSampler",),
    "MODEL.COMPOSITES.NET": COMPOSITE_NET_REGISTRY,
    "MODEL.COMPOSITES.INPUT": tuple(INPUTS),
    "SOLVER.OPTIMIZER": ("ADAMW", "ADAM", "SGD"),
    "SOLVER.LR_SCHEDULER_NAME": ("WarmupMultiStepLR", "WarmupCosineLR", "WarmupPolyLR", PLATEAU),
    "SOLVER.PLATEAU.MODE": ("max", "min"),
    "SOLVER.WARMUP_METHOD": ("linear", "constant"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": ("full_model", "norm", "value"),
    "MODEL.AUTO_VOCABULARY.CAPTIONER": CAPTIONER_REGISTRY,
    "ZSSEG.SEEN_CLASSES": SEEN_CLASSES,
    "ZSSEG.TRAINING_VOCABULARY": TRAINING_VOCABULARIES,
    "ZSSEG.DELETED_PIXELS": ("no_object", "ignore"),
    "ZSSEG.MERGE.PRIORITY": PRIORITIES,
    "ZSSEG.DISTILLATION.LOSS": ("mse", "kl"),
    "ZSSEG.DISTILLATION.CLASSES": ("all", "deleted"),
    "ZSSEG.DISTILLATION.PAIRING": PAIRINGS,
    "ZSSEG.MEAN_TEACHER.PREDICTION": ("teacher", "student"),
    "ZSSEG.FUSION.NAME": FUSIONS,
    "ZSSEG.FUSION.PAIRING": PAIRINGS,
    "ZSSEG.FUSION.PREDICTION": ("one", "two", "fused"),
    **referring.CHOICES,
    **composites.CHOICES,
}
"""Config key -> the names that it accepts."""


def validate(cfg: CfgNode, *, eval_only: bool = False, world_size: int = 1) -> None:
    """Check everything that is known without reading data or weights.

    Args:
        cfg: the merged config.
        eval_only: whether there is no training, so that training keys are not checked.
        world_size: number of processes.

    Raises:
        ConfigError: naming the first key that is wrong.
    """
    check_values(cfg, eval_only=eval_only)
    for key, choices in CHOICES.items():
        check_choice(key, _get(cfg, key), choices.names() if isinstance(choices, NamedRegistry) else choices)
    check_choice("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, [name for name, _ in META_ARCH_REGISTRY])
    if not eval_only and not getattr(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE), "trainable", True):
        raise ConfigError(f"{cfg.MODEL.META_ARCHITECTURE} has nothing to train. Fix: add --eval-only")
    _check_parts(cfg)
    _check_widths(cfg)
    if not eval_only:
        _check_training(cfg)
    _check_device(cfg, eval_only)
    _check_datasets(cfg, eval_only)
    if not eval_only and cfg.SOLVER.IMS_PER_BATCH % world_size:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH={cfg.SOLVER.IMS_PER_BATCH}: {world_size} processes cannot share it equally."
        )
    if referring.is_referring(cfg):
        referring.check_referring(cfg, eval_only=eval_only)
    elif composites.has_composites(cfg) or composites.has_composite_net(cfg):
        composites.check_nets(cfg, eval_only=eval_only)
        composites.check_composites(cfg, eval_only=eval_only)
    else:
        _check_panoptic(cfg, eval_only)


def _check_panoptic(cfg: CfgNode, eval_only: bool) -> None:
    if cfg.INPUT.DATASET_MAPPER_NAME == "phrase":
        raise ConfigError("INPUT.DATASET_MAPPER_NAME=phrase: it needs MODEL.META_ARCHITECTURE ReferringSegmentor.")
    referring.check_datasets(cfg, (*every_training(cfg), *every_test(cfg)), referring=False)
    if cfg.ZSSEG.SAMPLES.PERIOD > 0:
        raise ConfigError(
            f"ZSSEG.SAMPLES.PERIOD={cfg.ZSSEG.SAMPLES.PERIOD}: it is for phrases. Fix: use ZSSEG.VIS_IMAGES"
        )
    for name in every_test(cfg):
        _check_scored(cfg, name)
    _check_measures(cfg)
    _check_classes(cfg)
    _check_method(cfg, eval_only)


_NEED_PANOPTIC_MAPS = (AUTO_VOCABULARY, "NaiveIntersection")


def _check_scored(cfg: CfgNode, dataset: str) -> None:
    """Check that the model gives what the dataset is scored by: a panoptic map, or else a semantic output."""
    kind, test, architecture = evaluator_type(cfg, dataset), cfg.MODEL.MASK_FORMER.TEST, cfg.MODEL.META_ARCHITECTURE
    if kind not in (PANOPTIC, SEMANTIC) or (kind == PANOPTIC and test.PANOPTIC_ON):
        return
    if architecture in _NEED_PANOPTIC_MAPS and not test.PANOPTIC_ON:
        raise ConfigError(f"{architecture} needs panoptic maps. Fix: MODEL.MASK_FORMER.TEST.PANOPTIC_ON True")
    if not test.SEMANTIC_ON and architecture != AUTO_VOCABULARY:
        panoptic = "Evaluation needs panoptic maps or a semantic output. Fix: MODEL.MASK_FORMER.TEST.PANOPTIC_ON True "
        semantic = f"'{dataset}' has label maps, which the semantic output is compared with. Fix: "
        key = "MODEL.MASK_FORMER.TEST.SEMANTIC_ON True"
        raise ConfigError(f"{panoptic}for PQ, or {key} for mIoU" if kind == PANOPTIC else semantic + key)


def _check_measures(cfg: CfgNode) -> None:
    parts = {"sem_seg": "SEMANTIC_ON", "instances": "INSTANCE_ON"}
    for name in cfg.ZSSEG.MEASURES:
        check_choice("ZSSEG.MEASURES", name, MEASURES)
        key = parts[MEASURES[name]]
        if not cfg.MODEL.MASK_FORMER.TEST[key]:
            raise ConfigError(
                f"ZSSEG.MEASURES={name}: the model does not give what it scores. Fix: MODEL.MASK_FORMER.TEST.{key} True"
            )
        if name == "AP" and not cfg.MODEL.MASK_FORMER.TEST.PANOPTIC_ON:
            raise ConfigError("ZSSEG.MEASURES=AP: it is scored beside PQ. Fix: MODEL.MASK_FORMER.TEST.PANOPTIC_ON True")


def _check_parts(cfg: CfgNode) -> None:
    """Check the names of the model's parts, which registries know; Detectron2's own backbones and heads do not fit."""
    for key, registry, name in (
        ("MODEL.BACKBONE.NAME", BACKBONE_REGISTRY, cfg.MODEL.BACKBONE.NAME),
        ("MODEL.SEM_SEG_HEAD.NAME", SEM_SEG_HEADS_REGISTRY, cfg.MODEL.SEM_SEG_HEAD.NAME),
        ("MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME", PIXEL_DECODER_REGISTRY, cfg.MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME),
        (
            "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME",
            TRANSFORMER_DECODER_REGISTRY,
            cfg.MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME,
        ),
    ):
        own = [known for known, part in registry if not part.__module__.startswith("detectron2.")]
        check_choice(key, name, own)


def _check_widths(cfg: CfgNode) -> None:
    """Check that the widths of FC-CLIP's own decoders are multiples of what shares them."""
    head, former = cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.MASK_FORMER
    heads = "DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS"
    shared: list[tuple[str, int, str, int]] = []
    if head.PIXEL_DECODER_NAME == "MSDeformAttnPixelDecoder":
        shared += [
            ("MODEL.SEM_SEG_HEAD.CONVS_DIM", head.CONVS_DIM, "the groups of its norms", 32),
            ("MODEL.SEM_SEG_HEAD.CONVS_DIM", head.CONVS_DIM, f"MODEL.SEM_SEG_HEAD.{heads}", head[heads]),
        ]
    if former.TRANSFORMER_DECODER_NAME == "MultiScaleExtendedMaskTransformerDecoder":
        shared.append(("MODEL.MASK_FORMER.HIDDEN_DIM", former.HIDDEN_DIM, "MODEL.MASK_FORMER.NHEADS", former.NHEADS))
    for key, width, other, parts in shared:
        if width % parts:
            raise ConfigError(f"{key}={width}: it must be a multiple of {other} ({parts}).")


def _check_training(cfg: CfgNode) -> None:
    """Check training keys against one another."""
    size, crop = cfg.INPUT, cfg.INPUT.CROP
    if size.MIN_SCALE > size.MAX_SCALE:
        raise ConfigError(f"INPUT.MIN_SCALE={size.MIN_SCALE}: it must not be above INPUT.MAX_SCALE={size.MAX_SCALE}.")
    shortest = [size.MIN_SIZE_TRAIN] if isinstance(size.MIN_SIZE_TRAIN, int) else list(size.MIN_SIZE_TRAIN)
    if size.MIN_SIZE_TRAIN_SAMPLING == "range" and (len(shortest) != 2 or shortest[0] > shortest[1]):
        raise ConfigError(
            f"INPUT.MIN_SIZE_TRAIN={size.MIN_SIZE_TRAIN}: with INPUT.MIN_SIZE_TRAIN_SAMPLING range it must be a "
            "smallest and a largest size."
        )
    if crop.ENABLED:
        relative = crop.TYPE.startswith("relative")
        if relative and max(crop.SIZE) > 1:
            raise ConfigError(f"INPUT.CROP.SIZE={crop.SIZE}: shares of the image must be at most 1.")
        if not relative and any(not float(side).is_integer() for side in crop.SIZE):
            raise ConfigError(f"INPUT.CROP.SIZE={crop.SIZE}: sizes in pixels must be whole numbers.")
        if crop.TYPE == "absolute_range" and crop.SIZE[0] > crop.SIZE[1]:
            raise ConfigError(f"INPUT.CROP.SIZE={crop.SIZE}: the smaller size must be first.")
    _check_plateau(cfg)
    solver = cfg.SOLVER
    if solver.NESTEROV and solver.OPTIMIZER == "SGD" and not solver.MOMENTUM > 0:
        raise ConfigError(f"SOLVER.MOMENTUM={solver.MOMENTUM}: SOLVER.NESTEROV True needs a positive one.")


def _check_plateau(cfg: CfgNode) -> None:
    if cfg.SOLVER.LR_SCHEDULER_NAME != PLATEAU:
        return
    name, known = plateau_dataset(cfg), DatasetCatalog.list()
    if name not in known:
        raise ConfigError(
            f"SOLVER.PLATEAU.DATASET={name}: {PLATEAU} needs a dataset whose score decides."
            f"{did_you_mean(name, known)} Fix: name a validation split"
        )


def check_choice(key: str, value: object, choices: Collection[str]) -> None:
    """Check that the value of a key is one of several names.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"{key}={value}: choose one of {', '.join(choices)}.{did_you_mean(str(value), choices)}")


def _get(cfg: CfgNode, key: str):
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def _check_device(cfg: CfgNode, eval_only: bool) -> None:
    try:
        device = torch.device(cfg.MODEL.DEVICE)
    except RuntimeError as error:
        raise ConfigError(f"MODEL.DEVICE={cfg.MODEL.DEVICE}: {str(error).splitlines()[0]}") from error
    if device.type not in ("cpu", "cuda", "mps", "xpu"):
        raise ConfigError(f"MODEL.DEVICE={cfg.MODEL.DEVICE}: models do not run there. Fix: cpu, or cuda")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(
                f"MODEL.DEVICE={cfg.MODEL.DEVICE}: torch finds no CUDA device here. Fix: MODEL.DEVICE cpu, or omit the "
                "key to choose automatically"
            )
        if (device.index or 0) >= torch.cuda.device_count():
            raise ConfigError(
                f"MODEL.DEVICE={cfg.MODEL.DEVICE}: there are only {torch.cuda.device_count()} CUDA devices."
            )
    elif cfg.SOLVER.AMP.ENABLED and not eval_only:
        raise ConfigError(
            f"SOLVER.AMP.ENABLED=True: it needs CUDA, but MODEL.DEVICE is {device}. Fix: SOLVER.AMP.ENABLED False"
        )


def _check_datasets(cfg: CfgNode, eval_only: bool) -> None:
    known = DatasetCatalog.list()
    for key, names, needed in (
        ("DATASETS.TRAIN", cfg.DATASETS.TRAIN, not eval_only),
        *((key, (name,), False) for key, name in further_training(cfg).items()),
        ("DATASETS.TEST", cfg.DATASETS.TEST, eval_only),
        ("DATASETS.FINAL_TEST", cfg.DATASETS.FINAL_TEST, False),
    ):
        if needed and not names:
            raise ConfigError(f"{key} is empty. Fix: name a dataset.{_examples(known)}")
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"{key}: there is no dataset '{name}'.{did_you_mean(name, known) or _examples(known)} "
                    "Fix: name one of them, or give your own, with --dataset or in Python (datasets/README.md)."
                )
    twice = sorted({name for name in every_test(cfg) if every_test(cfg).count(name) > 1})
    if twice:
        raise ConfigError(f"DATASETS.FINAL_TEST={list(cfg.DATASETS.FINAL_TEST)}: '{twice[0]}' is evaluated twice.")


_DIFFERENCES = {
    "vocabulary": "their classes",
    "deleted_contiguous_ids": "the classes that are deleted",
    "pseudo_label_contiguous_ids": "the classes that have pseudo-labels",
}


def _check_training_sets_agree(names: Collection[str]) -> None:
    """Check that all training sets have the same classes, deleted classes and pseudo-labelled classes."""
    first, *others = (MetadataCatalog.get(name) for name in names)
    for other in others:
        for key in ("vocabulary", "deleted_contiguous_ids", "pseudo_label_contiguous_ids"):
            if first.get(key, ()) != other.get(key, ()):
                raise ConfigError(
                    f"DATASETS.TRAIN: '{first.name}' and '{other.name}' differ in "
                    f"{_DIFFERENCES[key]}; train on sets that agree."
                )


def _examples(known: Collection[str]) -> str:
    packaged = sorted(name for name in known if name.startswith(("openvocab_", "mini")))
    return f" There are {', '.join(packaged)}." if packaged else ""


def _check_classes(cfg: CfgNode) -> None:
    """Check that vocabularies can be read, and that their lengths fit NUM_CLASSES and the datasets."""
    if cfg.DATASETS.TRAIN:
        _check_training_sets_agree(cfg.DATASETS.TRAIN)
    for key in ("VOCABULARY", "PRETRAINING_VOCABULARY"):
        try:
            if cfg.ZSSEG[key] or key == "PRETRAINING_VOCABULARY":
                Vocabulary.load(cfg.ZSSEG[key])
        except (ValueError, OSError) as error:
            raise ConfigError(f"ZSSEG.{key}: {explanation(error) or error}") from error
    try:
        classes = ClassSets.from_config(cfg)
        architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
        if issubclass(architecture, SegmentationModel):
            architecture.check_config(cfg)
        for name in every_test(cfg):
            classes.evaluation(name)
    except (ValueError, OSError) as error:
        raise ConfigError(explanation(error) or str(error)) from error


def _check_method(cfg: CfgNode, eval_only: bool) -> None:
    """Check the keys of the methods: initial weights, fusion, distillation, merging, pseudo-labels."""
    for key, path in weights_to_read(cfg, eval_only=eval_only).items():
        if not path:
            raise ConfigError(
                f"{key} is empty, but {cfg.MODEL.META_ARCHITECTURE} starts from the weights of each of its models. "
                "Fix: give their files: "
                + " ".join(f"{k} /path/to/file.pth" for k, p in weights_to_read(cfg).items() if not p)
            )
    zsseg = cfg.ZSSEG
    if not (zsseg.ENSEMBLE or zsseg.VOID_RULE) and cfg.MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD <= 0:
        logger.warning(
            "ZSSEG.VOID_RULE=False: every query keeps a class; see MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD."
        )
