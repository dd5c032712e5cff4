"""Classes of a run: those of training, of each test set, and which of them are seen, deleted or Out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from detectron2.config import CfgNode
from detectron2.data import Metadata, MetadataCatalog

from .class_names import find_class
from .vocabulary import Vocabulary, clip_tokens

SEEN_CLASSES = ("pretraining", "training", "both")
TRAINING_VOCABULARIES = ("all", "kept")
NO_CLASS = ("none",)
"""ZSSEG.OUT_CLASSES where no class is Out."""


@dataclass(frozen=True)
class TrainingClasses:
    """The K classes of the training labels.

    Attributes:
        vocabulary: K classes in the order of contiguous ids.
        kept: Contiguous ids whose names are in the classifier.
        deleted: Contiguous ids that no label may have.
        unlabeled: Contiguous ids without ground truth: deleted ones, and those with pseudo-labels.
    """

    vocabulary: Vocabulary
    kept: tuple[int, ...]
    deleted: tuple[int, ...] = ()
    unlabeled: tuple[int, ...] = ()


@dataclass(frozen=True)
class EvalClasses:
    """The K classes of an evaluation.

    Attributes:
        vocabulary: K classes in the order of contiguous ids.
        things: Contiguous ids of thing classes.
        seen: (K,) whether a class counts as seen in the ensemble.
        out: Contiguous ids of the Out classes; all others are In.
    """

    vocabulary: Vocabulary
    things: frozenset[int]
    seen: tuple[bool, ...]
    out: tuple[int, ...] = ()


class ClassSets:
    """All classes of a run, resolved once from the config and the metadata of its datasets.

    Args:
        train: DATASETS.TRAIN.
        test: DATASETS.TEST.
        num_classes: MODEL.SEM_SEG_HEAD.NUM_CLASSES, compared with the training vocabulary; 0: not compared.
        vocabulary: ZSSEG.VOCABULARY. It replaces the names and synonyms of a test set: with the same names in another
            order it is put into the order of the dataset, else its classes replace those of the dataset one by one.
        pretraining_vocabulary: ZSSEG.PRETRAINING_VOCABULARY.
        seen_classes: ZSSEG.SEEN_CLASSES.
        training_vocabulary: ZSSEG.TRAINING_VOCABULARY.
        out_classes: ZSSEG.OUT_CLASSES; ``["none"]``: no class is Out.
        replay: ZSSEG.REPLAY.DATASET.

    Raises:
        ValueError: The settings contradict the datasets or one another.
    """

    def __init__(
        self,
        *,
        train: Sequence[str] = (),
        test: Sequence[str] = (),
        num_classes: int,
        vocabulary: str = "",
        pretraining_vocabulary: str = "coco_panoptic",
        seen_classes: str = "pretraining",
        training_vocabulary: str = "all",
        out_classes: str | int | Sequence[str | int] = (),
        replay: str = "",
    ) -> None:
        _check_choice("ZSSEG.TRAINING_VOCABULARY", training_vocabulary, TRAINING_VOCABULARIES)
        _check_choice("ZSSEG.SEEN_CLASSES", seen_classes, SEEN_CLASSES)
        self._train = tuple(train)
        self._test = tuple(test)
        self._source = vocabulary
        self._given = Vocabulary.load(vocabulary) if vocabulary else None
        self._pretraining = Vocabulary.load(pretraining_vocabulary)
        self._seen_classes = seen_classes
        self._out_classes = (out_classes,) if isinstance(out_classes, str | int) else tuple(out_classes)
        self._evaluations: dict[str, EvalClasses] = {}
        self.training = self._training(num_classes, training_vocabulary, pretraining_vocabulary)
        self._replay = replay
        self.replay = self._replayed(replay) if replay else None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> ClassSets:
        """Resolve the classes of a config.

        Raises:
            ValueError: See the message.
            FileNotFoundError: A vocabulary is neither packaged nor a file.
        """
        return cls(
            train=cfg.DATASETS.TRAIN,
            test=cfg.DATASETS.TEST,
            num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            vocabulary=cfg.ZSSEG.VOCABULARY,
            pretraining_vocabulary=cfg.ZSSEG.PRETRAINING_VOCABULARY,
            seen_classes=cfg.ZSSEG.SEEN_CLASSES,
            training_vocabulary=cfg.ZSSEG.TRAINING_VOCABULARY,
            out_classes=cfg.ZSSEG.OUT_CLASSES,
            replay=cfg.ZSSEG.REPLAY.DATASET,
        )

    def training_of(self, item: Mapping) -> TrainingClasses:
        """Return the classes of a training item: those of the replayed dataset, or of DATASETS.TRAIN."""
        if self.replay is not None and item.get("dataset_name") == self._replay:
            return self.replay
        return self.training

    def evaluation(self, dataset: str | None = None) -> EvalClasses:
        """Return the classes of an evaluation on ``dataset``, or on the first test set if None.

        Raises:
            ValueError: The vocabulary's length is not the dataset's, a name of the dataset is in another's place, or
                ZSSEG.OUT_CLASSES has something that is neither a class name nor a label id of the dataset.
        """
        name = dataset or (self._test[0] if self._test else "")
        if name not in self._evaluations:
            self._evaluations[name] = self._evaluation(MetadataCatalog.get(name) if name else None)
        return self._evaluations[name]

    def of(self, item: Mapping) -> EvalClasses:
        """Return the classes of an item of the input: its own ``classes``, else those of its ``dataset_name``.

        Raises:
            ValueError: See :meth:`evaluation`.
        """
        own = item.get("classes")
        return self.evaluation(item.get("dataset_name")) if own is None else own

    def for_words(self, vocabulary: Vocabulary, things: Iterable[int]) -> EvalClasses:
        """Return the classes of any vocabulary, whatever the test set is.

        Seen classes follow from ZSSEG.SEEN_CLASSES. Out are the classes that are not In on the first test set. If
        vocabulary and things are those of the first test set, the result is that of :meth:`evaluation`.

        Args:
            vocabulary: K classes.
            things: Contiguous ids of thing classes.

        Raises:
            ValueError: CLIP reads the same of two names; or see :meth:`evaluation`.
        """
        tested, things = self.evaluation(), frozenset(things)
        if vocabulary == tested.vocabulary and things == tested.things:
            return tested
        vocabulary.check_distinct()
        inside = [k for k in range(len(tested.vocabulary)) if k not in tested.out]
        known = vocabulary.seen_in(tested.vocabulary.subset(inside)) if inside else (False,) * len(vocabulary)
        out = tuple(k for k, is_in in enumerate(known) if not is_in)
        return EvalClasses(vocabulary, things, self._seen(vocabulary), out)

    def for_found(self, vocabulary: Vocabulary, things: Iterable[int]) -> EvalClasses:
        """Return the classes of words that were found: :meth:`for_words`, with the first test set's kinds of its names.

        Args:
            vocabulary: K classes.
            things: Contiguous ids of thing classes, where the test set does not know the name.

        Raises:
            ValueError: See :meth:`for_words`.
        """
        tested, things = self.evaluation(), frozenset(things)
        known = {
            clip_tokens(name): k in tested.things
            for k, synonyms in enumerate(tested.vocabulary.classes)
            for name in synonyms
        }
        kinds = (known.get(clip_tokens(name), k in things) for k, name in enumerate(vocabulary.names))
        return self.for_words(vocabulary, (k for k, is_thing in enumerate(kinds) if is_thing))

    def _training(self, num_classes: int, training_vocabulary: str, pretraining_vocabulary: str) -> TrainingClasses:
        metadata = self._train_metadata
        vocabulary = (metadata and metadata.get("vocabulary")) or self._pretraining
        if num_classes not in (0, len(vocabulary)):
            source = self._train[0] if metadata else pretraining_vocabulary
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {num_classes}, but the training vocabulary of '{source}' has "
                f"{len(vocabulary)} classes. Fix: leave the key out."
            )
        vocabulary.check_distinct()
        deleted = tuple(metadata.get("deleted_contiguous_ids", ())) if metadata else ()
        pseudo = tuple(metadata.get("pseudo_label_contiguous_ids", ())) if metadata else ()
        kept = tuple(i for i in range(len(vocabulary)) if training_vocabulary == "all" or i not in deleted)
        return TrainingClasses(vocabulary, kept, deleted, tuple(sorted({*deleted, *pseudo})))

    def check_pretraining(self, key: str, name: str) -> Metadata:
        """Check a dataset of the pre-training, whose labels a method reads besides those of DATASETS.TRAIN.

        Args:
            key: Config key that names it.
            name: Of the dataset.

        Returns:
            Its metadata.

        Raises:
            ValueError: None is named, it is a training set, has no vocabulary, or labels classes that DATASETS.TRAIN
                deletes.
        """
        fix = "Fix: name the set of the pre-training."
        if not name:
            raise ValueError(f"{key} is empty. {fix}")
        metadata = MetadataCatalog.get(name)
        vocabulary = metadata.get("vocabulary")
        if vocabulary is None or name in self._train:
            problem = "is one of DATASETS.TRAIN" if vocabulary else "has no vocabulary"
            raise ValueError(f"{key}={name}: it {problem}. {fix}")
        own, without = self.training.vocabulary, _unlabeled(metadata)
        if sorted(map(clip_tokens, vocabulary.names)) == sorted(map(clip_tokens, own.names)):
            labeled = [clip_tokens(word) for k, word in enumerate(vocabulary.names) if k not in without]
            told = [own.names[k] for k in self.training.unlabeled if clip_tokens(own.names[k]) in labeled]
            if told:
                raise ValueError(
                    f"{key}={name}: it has ground truth of {', '.join(told)}, which DATASETS.TRAIN deletes. {fix}"
                )
        vocabulary.check_distinct()
        return metadata

    def _replayed(self, name: str) -> TrainingClasses:
        """Resolve the classes of the replayed dataset, all of which are in the classifier for its images.

        Raises:
            ValueError: See :meth:`check_pretraining`.
        """
        metadata = self.check_pretraining("ZSSEG.REPLAY.DATASET", name)
        vocabulary, deleted = metadata.vocabulary, tuple(metadata.get("deleted_contiguous_ids", ()))
        return TrainingClasses(vocabulary, tuple(range(len(vocabulary))), deleted, tuple(sorted(_unlabeled(metadata))))

    @property
    def _train_metadata(self) -> Metadata | None:
        return MetadataCatalog.get(self._train[0]) if self._train else None

    def _evaluation(self, metadata: Metadata | None) -> EvalClasses:
        own = metadata.get("vocabulary") if metadata else None
        vocabulary = self._given or own or self._pretraining
        things: Iterable[int] = range(len(vocabulary))
        if metadata is not None and own is not None:
            if len(own) != len(vocabulary):
                raise ValueError(
                    f"ZSSEG.VOCABULARY '{self._source}' has {len(vocabulary)} classes, "
                    f"but '{metadata.name}' has {len(own)}. Fix: name each class; tools/predict.py takes any words."
                )
            vocabulary = _in_order_of(own, vocabulary, self._source)
            things = metadata.get("thing_dataset_id_to_contiguous_id", {}).values()
        vocabulary.check_distinct()
        return EvalClasses(vocabulary, frozenset(things), self._seen(vocabulary), self._out(metadata))

    def _seen(self, vocabulary: Vocabulary) -> tuple[bool, ...]:
        known = []
        if self._seen_classes in ("pretraining", "both"):
            known.append(self._pretraining)
        if self._seen_classes in ("training", "both"):
            metadata = self._train_metadata
            trained = metadata.get("vocabulary") if metadata else None
            if trained is None:
                raise ValueError(
                    f"ZSSEG.SEEN_CLASSES is '{self._seen_classes}', "
                    "but DATASETS.TRAIN names no dataset with a vocabulary."
                )
            known.append(trained.subset(i for i in range(len(trained)) if i not in self.training.deleted))
        return tuple(any(seen) for seen in zip(*(vocabulary.seen_in(v) for v in known)))

    def requested_out(self, dataset: str) -> tuple[int, ...] | None:
        """Return ZSSEG.OUT_CLASSES, else the classes without ground truth in training, as contiguous ids of
        ``dataset``.

        Returns:
            None if neither says anything: the dataset's own default holds then.

        Raises:
            ValueError: ZSSEG.OUT_CLASSES has something that is neither a class name nor a label id of the dataset.
        """
        metadata = MetadataCatalog.get(dataset)
        if self._out_classes == NO_CLASS:
            return ()
        if self._out_classes:
            return self._chosen_out(metadata)
        trained = self._train_metadata
        if trained is not None and _same_words(trained.get("stuff_classes", ()), metadata.get("stuff_classes", ())):
            return self.training.unlabeled or None
        return None

    def _out(self, metadata: Metadata | None) -> tuple[int, ...]:
        if metadata is None:
            return ()
        requested = self.requested_out(metadata.name)
        if requested is not None:
            return requested
        return tuple(sorted(metadata.get("deleted_contiguous_ids") or metadata.get("out_contiguous_ids") or ()))

    def _chosen_out(self, metadata: Metadata) -> tuple[int, ...]:
        ids = {k: number for number, k in metadata.get("stuff_dataset_id_to_contiguous_id", {}).items()}
        printed = metadata.get("stuff_classes", ())
        in_files = metadata.get("category_names", printed)
        names = [list(dict.fromkeys(pair)) for pair in zip(printed, in_files)]
        try:
            found = {find_class(item, names, [ids.get(k) for k in range(len(names))]) for item in self._out_classes}
        except ValueError as error:
            raise ValueError(f"ZSSEG.OUT_CLASSES={list(self._out_classes)}, '{metadata.name}': {error}") from None
        return tuple(sorted(found))


def _unlabeled(metadata: Metadata) -> set[int]:
    """Return the contiguous ids of a dataset that have no ground truth."""
    return {*metadata.get("deleted_contiguous_ids", ()), *metadata.get("pseudo_label_contiguous_ids", ())}


def _same_words(some: Sequence[str], others: Sequence[str]) -> bool:
    return list(map(clip_tokens, some)) == list(map(clip_tokens, others))


def _check_choice(key: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{key} is '{value}'; choose {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}.")


def _in_order_of(own: Vocabulary, words: Vocabulary, source: str) -> Vocabulary:
    """Put ``words`` into the order of ``own`` if the names are the same; else refuse names in a wrong place."""
    places = [_place(name, own) for name in words.names]
    if sorted(place for place in places if place is not None) == list(range(len(own))):
        return words.subset(places.index(k) for k in range(len(own)))
    for k, (name, place) in enumerate(zip(words.names, places)):
        if place is not None and place != k and clip_tokens(name) not in map(clip_tokens, own.classes[k]):
            raise ValueError(
                f"ZSSEG.VOCABULARY '{source}': '{name}' is class {k}, but class {place} of the dataset. Name every "
                "class as the dataset does (in any order), or give the classes line by line in its order."
            )
    return words


def _place(name: str, own: Vocabulary) -> int | None:
    """Return the class of ``own`` that a name means, if there is exactly one."""
    try:
        return find_class(name, [[n] for n in own.names], [None] * len(own))
    except ValueError:
        return None
