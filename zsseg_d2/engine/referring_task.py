"""Phrase segmentation as a task: records, mappers, and the checks of its config keys."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY

from ..data.images.reading import ImageRules
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
"""``evaluator_type`` of datasets of phrases."""

CHOICES: dict[str, tuple[str, ...] | NamedRegistry] = {
    "INPUT.PHRASE.PROMPTS_TRAIN": tuple(PROMPTS),
    "INPUT.PHRASE.PROMPTS_TEST": tuple(name for name, templates in PROMPTS.items() if len(templates) == 1),
    "MODEL.REFERRING.DECODER": REFERRING_DECODER_REGISTRY,
    "MODEL.REFERRING.CONDITION": CONDITIONS,
}


def is_referring(cfg: CfgNode) -> bool:
    """Return whether the architecture of a config segments phrases."""
    name = cfg.MODEL.META_ARCHITECTURE
    return name in META_ARCH_REGISTRY and getattr(META_ARCH_REGISTRY.get(name), "task", "") == "referring"


def training_samples(cfg: CfgNode, records: Sequence[dict]) -> tuple[list[dict], PhraseMapper]:
    """Return the records of training and their mapper: CLIPSeg's recipe, as INPUT.PHRASE configures it.

    Args:
        cfg: the config of the run.
        records: one per task, or one per image.
    """
    records = tasks_of(records)
    phrase = cfg.INPUT.PHRASE
    mapper = PhraseMapper(
        phrase.SIZE,
        crop=phrase.CROP,
        min_visible=phrase.MIN_VISIBLE,
        per_image=phrase.PER_IMAGE,
        negatives=NegativePhrases(records) if phrase.NEGATIVE_PROBABILITY else None,
        negative_probability=phrase.NEGATIVE_PROBABILITY,
        templates=prompt_templates(phrase.PROMPTS_TRAIN),
        supports=_supports(cfg, records),
        rules=ImageRules.from_config(cfg),
    )
    return (group_by_image(records) if phrase.PER_IMAGE > 1 else records), mapper


def test_samples(cfg: CfgNode, records: Sequence[dict]) -> tuple[list[dict], Callable[[dict], list[dict]]]:
    """Return records of images with all their tasks, so that CLIP encodes each image once, and the plain mapper."""
    records = tasks_of(records)
    mapper = PhraseMapper(
        cfg.INPUT.PHRASE.SIZE,
        templates=prompt_templates(cfg.INPUT.PHRASE.PROMPTS_TEST),
        supports=_supports(cfg, records),
        rules=ImageRules.from_config(cfg),
    )
    return group_by_image(records), SeededByImage(mapper)


def tasks_of(records: Sequence[dict]) -> list[dict]:
    """Return one record per task, also of datasets that are registered with one per image."""
    return [
        {k: v for k, v in {**record, **task}.items() if k != "tasks"}
        for record in records
        for task in record.get("tasks", ({},))
    ]


def _supports(cfg: CfgNode, records: Sequence[dict]) -> SupportTasks | None:
    """Return the source of image prompts, for models that take them."""
    return None if cfg.MODEL.REFERRING.CONDITION == "text" else SupportTasks(records)


def check_referring(cfg: CfgNode, *, eval_only: bool) -> None:
    """Check the keys of phrase segmentation.

    Raises:
        ConfigError: a key has a value that does not work.
    """
    if cfg.INPUT.DATASET_MAPPER_NAME != "phrase":
        raise ConfigError(
            f"INPUT.DATASET_MAPPER_NAME={cfg.INPUT.DATASET_MAPPER_NAME}: {cfg.MODEL.META_ARCHITECTURE} needs phrases. "
            "Fix: INPUT.DATASET_MAPPER_NAME phrase"
        )
    _check_loss_and_threshold(cfg)
    if cfg.ZSSEG.SAMPLES.PERIOD > 0 and not eval_only and not (cfg.DATASETS.TEST and cfg.ZSSEG.SAMPLES.COUNT > 0):
        raise ConfigError(
            f"ZSSEG.SAMPLES.PERIOD={cfg.ZSSEG.SAMPLES.PERIOD}: it visualizes test samples, but DATASETS.TEST is empty "
            "or ZSSEG.SAMPLES.COUNT is 0."
        )
    names = cfg.DATASETS.TEST if eval_only else (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    check_datasets(cfg, names, referring=True)


def _check_loss_and_threshold(cfg: CfgNode) -> None:
    from ..evaluation.referring.metrics import threshold_index

    try:
        parse_loss(cfg.MODEL.REFERRING.LOSS)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    try:
        threshold_index(cfg.MODEL.REFERRING.THRESHOLD)
    except ValueError as error:
        raise ConfigError(f"MODEL.REFERRING.THRESHOLD: {error}") from error


def check_datasets(cfg: CfgNode, names: Collection[str], *, referring: bool) -> None:
    """Check that datasets have what the architecture needs: phrases or classes.

    Raises:
        ConfigError: a dataset has the other.
    """
    for name in names:
        if (MetadataCatalog.get(name).get("evaluator_type") == EVALUATOR) != referring:
            has, needs = ("classes", "phrases") if referring else ("phrases", "classes")
            raise ConfigError(
                f"'{name}' is a dataset of {has}, but {cfg.MODEL.META_ARCHITECTURE} needs one of {needs}."
            )
