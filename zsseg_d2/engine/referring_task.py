"""What is different where a phrase is to be segmented: records, mapper, evaluator, and what a config may say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY

from ..data.phrasecut.dataset import group_by_image
from ..data.phrasecut.phrase_mapper import PhraseMapper
from ..data.phrasecut.prompts import PROMPTS, NegativePhrases, prompt_templates
from ..data.phrasecut.visual_prompts import SupportTasks
from ..data.seeding import SeededByImage
from ..meta_arch.referring import CONDITIONS
from ..modeling.referring.mask_losses import parse_loss
from ..modeling.registries import REFERRING_DECODER_REGISTRY
from ..registry import NamedRegistry
from .errors import ConfigError

EVALUATOR = "zsseg_referring"
"""``evaluator_type`` of data sets of phrases."""

CHOICES: dict[str, tuple[str, ...] | NamedRegistry] = {
    "INPUT.PHRASE.PROMPTS_TRAIN": tuple(PROMPTS),
    "INPUT.PHRASE.PROMPTS_TEST": tuple(name for name, templates in PROMPTS.items() if len(templates) == 1),
    "MODEL.REFERRING.DECODER": REFERRING_DECODER_REGISTRY,
    "MODEL.REFERRING.CONDITION": CONDITIONS,
}


def is_referring(cfg: CfgNode) -> bool:
    """Whether the architecture of a config segments phrases."""
    name = cfg.MODEL.META_ARCHITECTURE
    return name in META_ARCH_REGISTRY and getattr(META_ARCH_REGISTRY.get(name), "task", "") == "referring"


def training_samples(cfg: CfgNode, records: Sequence[dict]) -> tuple[list[dict], PhraseMapper]:
    """Records as the training mapper takes them, and that mapper: CLIPSeg's recipe as far as INPUT.PHRASE asks for it.

    Args:
        records: one a task, or one an image.
    """
    records = tasks_of(records)
    ours = cfg.INPUT.PHRASE
    mapper = PhraseMapper(
        ours.SIZE,
        crop=ours.CROP,
        min_visible=ours.MIN_VISIBLE,
        per_image=ours.PER_IMAGE,
        negatives=NegativePhrases(records) if ours.NEGATIVE_PROBABILITY else None,
        negative_probability=ours.NEGATIVE_PROBABILITY,
        templates=prompt_templates(ours.PROMPTS_TRAIN),
        supports=_supports(cfg, records),
    )
    return (group_by_image(records) if ours.PER_IMAGE > 1 else records), mapper


def test_samples(cfg: CfgNode, records: Sequence[dict]) -> tuple[list[dict], Callable[[dict], list[dict]]]:
    """Records of images with all their tasks, so that CLIP sees each once, and the plain mapper."""
    records = tasks_of(records)
    mapper = PhraseMapper(
        cfg.INPUT.PHRASE.SIZE,
        templates=prompt_templates(cfg.INPUT.PHRASE.PROMPTS_TEST),
        supports=_supports(cfg, records),
    )
    return group_by_image(records), SeededByImage(mapper)


def tasks_of(records: Sequence[dict]) -> list[dict]:
    """One record a task, also of data sets that are registered with one an image."""
    return [
        {k: v for k, v in {**record, **task}.items() if k != "tasks"}
        for record in records
        for task in record.get("tasks", ({},))
    ]


def _supports(cfg: CfgNode, records: Sequence[dict]) -> SupportTasks | None:
    """Where image prompts come from, for models that take any."""
    return None if cfg.MODEL.REFERRING.CONDITION == "text" else SupportTasks(records)


def check_referring(cfg: CfgNode, *, eval_only: bool) -> None:
    """
    Raises:
        ConfigError: what a model of phrases cannot do.
    """
    phrase, ours = cfg.INPUT.PHRASE, cfg.MODEL.REFERRING
    if cfg.INPUT.DATASET_MAPPER_NAME != "phrase":
        raise ConfigError(
            f"{cfg.MODEL.META_ARCHITECTURE} needs `INPUT.DATASET_MAPPER_NAME phrase`, not '{cfg.INPUT.DATASET_MAPPER_NAME}'."
        )
    for key, value in (
        ("INPUT.PHRASE.SIZE", phrase.SIZE),
        ("INPUT.PHRASE.PER_IMAGE", phrase.PER_IMAGE),
        ("MODEL.REFERRING.FEEDFORWARD", ours.FEEDFORWARD),
        ("MODEL.REFERRING.UNET_DIMS", min(ours.UNET_DIMS, default=0)),
    ):
        if value < 1:
            raise ConfigError(f"{key} must be positive, but is {value}.")
    for key, value in (
        ("INPUT.PHRASE.MIN_VISIBLE", phrase.MIN_VISIBLE),
        ("INPUT.PHRASE.NEGATIVE_PROBABILITY", phrase.NEGATIVE_PROBABILITY),
        ("MODEL.REFERRING.TEXT_SHARE", ours.TEXT_SHARE),
        ("MODEL.REFERRING.DROPOUT", ours.DROPOUT),
    ):
        if not 0 <= value <= 1:
            raise ConfigError(f"{key} is {value}, but must lie in 0 .. 1.")
    if not (ours.FOCAL_ALPHA == -1 or 0 <= ours.FOCAL_ALPHA <= 1):
        raise ConfigError(f"MODEL.REFERRING.FOCAL_ALPHA is {ours.FOCAL_ALPHA}, but must lie in 0 .. 1, or be -1.")
    if not (ours.FOCAL_GAMMA == 0 or ours.FOCAL_GAMMA >= 1):
        raise ConfigError(f"MODEL.REFERRING.FOCAL_GAMMA is {ours.FOCAL_GAMMA}, but must be 0 or at least 1.")
    try:
        parse_loss(ours.LOSS)
    except ValueError as error:
        raise ConfigError(f"MODEL.REFERRING.LOSS: {error}") from error
    from ..evaluation.referring.metrics import threshold_index

    try:
        threshold_index(ours.THRESHOLD)
    except ValueError as error:
        raise ConfigError(f"MODEL.REFERRING.THRESHOLD: {error}") from error
    if cfg.ZSSEG.SAMPLES.PERIOD > 0 and not eval_only and not (cfg.DATASETS.TEST and cfg.ZSSEG.SAMPLES.COUNT > 0):
        raise ConfigError(
            "ZSSEG.SAMPLES.PERIOD asks for pictures, but DATASETS.TEST is empty or ZSSEG.SAMPLES.COUNT is 0."
        )
    names = cfg.DATASETS.TEST if eval_only else (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    check_data_sets(cfg, names, referring=True)


def check_data_sets(cfg: CfgNode, names: Collection[str], *, referring: bool) -> None:
    """
    Raises:
        ConfigError: a data set is of the other kind than the architecture.
    """
    for name in names:
        if (MetadataCatalog.get(name).get("evaluator_type") == EVALUATOR) != referring:
            has, needs = ("classes", "phrases") if referring else ("phrases", "classes")
            raise ConfigError(
                f"'{name}' is a data set of {has}, but {cfg.MODEL.META_ARCHITECTURE} needs one of {needs}."
            )
