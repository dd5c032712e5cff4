"""What a data set's metadata and the config say about classes (names, things, seen, kept) and about precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from .vocabulary import Vocabulary


@dataclass(frozen=True)
class EvalClasses:
    """The K classes of an evaluation: names, which are things, which count as seen in the ensemble."""

    vocabulary: Vocabulary
    things: frozenset[int]
    seen: tuple[bool, ...]


@dataclass(frozen=True)
class TrainingClasses:
    """The K classes of training labels, the ids whose names stand in the classifier, and those that no label may have."""

    vocabulary: Vocabulary
    kept: tuple[int, ...]
    deleted: tuple[int, ...] = ()


def _metadata(names: tuple[str, ...]):
    return MetadataCatalog.get(names[0]) if names else None


def training_classes(cfg: CfgNode) -> TrainingClasses:
    """Classes of the training data set; without one, the pre-training vocabulary.

    Raises:
        ValueError: NUM_CLASSES is not the number of classes, or ZSSEG.TRAINING_VOCABULARY is unknown.
    """
    metadata = _metadata(cfg.DATASETS.TRAIN)
    vocabulary = metadata.get("vocabulary") if metadata else None
    vocabulary = vocabulary or Vocabulary.load(cfg.ZSSEG.PRETRAINING_VOCABULARY)
    if len(vocabulary) != cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES:
        source = cfg.DATASETS.TRAIN[0] if metadata else cfg.ZSSEG.PRETRAINING_VOCABULARY
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES}, but the training vocabulary of "
            f"'{source}' has {len(vocabulary)} classes."
        )
    deleted = tuple(metadata.get("deleted_contiguous_ids", ())) if metadata else ()
    return TrainingClasses(vocabulary, _kept(cfg, deleted, len(vocabulary)), deleted)


def _kept(cfg: CfgNode, deleted: tuple[int, ...], count: int) -> tuple[int, ...]:
    choice = cfg.ZSSEG.TRAINING_VOCABULARY
    if choice not in ("all", "kept"):
        raise ValueError(f"ZSSEG.TRAINING_VOCABULARY is '{choice}'; choose 'all' or 'kept'.")
    return tuple(i for i in range(count) if choice == "all" or i not in deleted)


def eval_classes(cfg: CfgNode, dataset: str | None) -> EvalClasses:
    """Classes of an evaluation on ``dataset``, or on the first test set where None.

    ``ZSSEG.VOCABULARY`` replaces the data set's names and synonyms; with the same names in another order it is put into
    the data set's order, else its classes stand for the data set's one by one.

    Raises:
        ValueError: the vocabulary's length is not the data set's, a name of the data set stands in another's place, or
            ZSSEG.SEEN_CLASSES is unknown.
    """
    metadata = MetadataCatalog.get(dataset) if dataset else _metadata(cfg.DATASETS.TEST)
    own = metadata.get("vocabulary") if metadata else None
    vocabulary = Vocabulary.load(cfg.ZSSEG.VOCABULARY) if cfg.ZSSEG.VOCABULARY else own
    if vocabulary is None:
        vocabulary = Vocabulary.load(cfg.ZSSEG.PRETRAINING_VOCABULARY)
    if own is not None and len(own) != len(vocabulary):
        raise ValueError(
            f"ZSSEG.VOCABULARY '{cfg.ZSSEG.VOCABULARY}' has {len(vocabulary)} classes, but '{metadata.name}' has {len(own)}."
        )
    if own is not None:
        vocabulary = _in_order_of(own, vocabulary, cfg.ZSSEG.VOCABULARY)
    things = (
        metadata.get("thing_dataset_id_to_contiguous_id", {}).values() if own is not None else range(len(vocabulary))
    )
    return EvalClasses(vocabulary, frozenset(things), _seen(cfg, vocabulary))


def _in_order_of(own: Vocabulary, words: Vocabulary, source: str) -> Vocabulary:
    """`words` in the order of `own` where the names are the same; unchanged where each stands in its place or is new."""
    if set(own.names) == set(words.names):
        return words.subset(words.names.index(name) for name in own.names)
    for place, name in enumerate(words.names):
        if name in own.names and own.names.index(name) != place:
            raise ValueError(
                f"ZSSEG.VOCABULARY '{source}': '{name}' is class {place}, but class {own.names.index(name)} of the data set. "
                "Name every class as the data set does (in any order), or give the classes line by line in its order."
            )
    return words


def _seen(cfg: CfgNode, vocabulary: Vocabulary) -> tuple[bool, ...]:
    choice = cfg.ZSSEG.SEEN_CLASSES
    if choice not in ("pretraining", "training", "both"):
        raise ValueError(f"ZSSEG.SEEN_CLASSES is '{choice}'; choose 'pretraining', 'training' or 'both'.")
    known = []
    if choice in ("pretraining", "both"):
        known.append(Vocabulary.load(cfg.ZSSEG.PRETRAINING_VOCABULARY))
    if choice in ("training", "both"):
        metadata = _metadata(cfg.DATASETS.TRAIN)
        trained = metadata.get("vocabulary") if metadata else None
        if trained is None:
            raise ValueError(
                f"ZSSEG.SEEN_CLASSES is '{choice}', but DATASETS.TRAIN names no data set with a vocabulary."
            )
        deleted = metadata.get("deleted_contiguous_ids", ())
        known.append(trained.subset(i for i in range(len(trained)) if i not in deleted))
    return tuple(any(seen) for seen in zip(*(vocabulary.seen_in(v) for v in known)))


def deleted_classes(cfg: CfgNode) -> tuple[int, ...]:
    """Contiguous ids of the classes whose ground truth the training data set lacks, deleted or pseudo-labelled."""
    metadata = _metadata(cfg.DATASETS.TRAIN)
    if metadata is None:
        return ()
    return tuple(
        sorted({*metadata.get("deleted_contiguous_ids", ()), *metadata.get("pseudo_label_contiguous_ids", ())})
    )


def distilled_classes(cfg: CfgNode) -> tuple[int, ...] | None:
    """Contiguous ids whose logits a student learns from its teacher (ZSSEG.DISTILLATION.CLASSES); None: all and void.

    Raises:
        ValueError: they are the deleted ones, and there are none.
    """
    if cfg.ZSSEG.DISTILLATION.CLASSES != "deleted":
        return None
    if not deleted_classes(cfg):
        raise ValueError(
            "ZSSEG.DISTILLATION.CLASSES is 'deleted', but DATASETS.TRAIN deletes no class. Train on a configuration such as "
            "'…_train_008', or give `ZSSEG.DISTILLATION.CLASSES all`."
        )
    return deleted_classes(cfg)


def evaluated_out_classes(cfg: CfgNode, dataset: str) -> list[int]:
    """:func:`out_classes`, or the data set's own: the classes deleted from it, else its default."""
    chosen = out_classes(cfg, dataset)
    if chosen is None:
        metadata = MetadataCatalog.get(dataset)
        chosen = metadata.get("deleted_contiguous_ids") or metadata.get("out_contiguous_ids") or ()
    return sorted(chosen)


def out_classes(cfg: CfgNode, dataset: str) -> list[int] | None:
    """Contiguous ids of the Out classes: ZSSEG.OUT_CLASSES, else those without ground truth in the training data set.

    Returns:
        None where neither says anything: the data set's own default then holds (the things, as in configuration 008).
    Raises:
        ValueError: ZSSEG.OUT_CLASSES has something that is neither a class name nor a label id of the data set.
    """
    metadata = MetadataCatalog.get(dataset)
    names = list(metadata.get("stuff_classes", ()))
    if cfg.ZSSEG.OUT_CLASSES:
        by_label = {str(k): v for k, v in metadata.get("stuff_dataset_id_to_contiguous_id", {}).items()}
        by_name = {name: k for k, name in enumerate(names)} | by_label
        for item in cfg.ZSSEG.OUT_CLASSES:
            if str(item) not in by_name:
                raise ValueError(
                    f"ZSSEG.OUT_CLASSES: '{item}' is neither a class name nor a label id of '{dataset}'. "
                    f"Its classes are {', '.join(names)}."
                )
        return sorted({by_name[str(item)] for item in cfg.ZSSEG.OUT_CLASSES})
    trained = _metadata(cfg.DATASETS.TRAIN)
    if trained is not None and list(trained.get("stuff_classes", ())) == names:
        return list(deleted_classes(cfg)) or None
    return None


def inference_precision(cfg: CfgNode, device: torch.device) -> torch.autocast:
    """What to run a model in at test time: MODEL.PRECISION."""
    return torch.autocast(device.type, torch.bfloat16, enabled=cfg.MODEL.PRECISION == "bfloat16")
