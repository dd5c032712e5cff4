"""Where weights come from: the training sets behind a file, written inside it and inherited by all that is made of it.

A file holds its own step (a training, an export, a merge), the hashes of the files that it was made of, and their
steps in turn. So a copy, an export or a merge of weights is known for what it has seen.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from detectron2.data import MetadataCatalog

from ...files import atomic_path, file_digest, local_path
from ...reading import UnusableFile, read_json
from ...tensor_files import SAFETENSORS, read_entries
from ...vocabulary import Vocabulary, clip_tokens
from ..config.yaml_files import read_yaml
from ..errors import ConfigError, did_you_mean

logger = logging.getLogger(__name__)

ENTRY = "provenance"
"""Name of the entry in checkpoints, and in the metadata of weights files."""
RECORD = "provenance.json"
"""File beside packaged weights: the steps that made them and their ancestors, by SHA-256 of their files."""


class TrainingSet(msgspec.Struct, frozen=True):
    """A dataset of a training: its classes, and the contiguous ids of those with ground truth."""

    name: str
    classes: tuple[str, ...] = ()
    labeled: tuple[int, ...] = ()


class Step(msgspec.Struct, frozen=True):
    """What made a file: a program, the training sets that it read, and the SHA-256 of the files that it started from.

    ``settings`` holds the config keys that say how deleted classes were treated.
    """

    program: str
    datasets: tuple[TrainingSet, ...] = ()
    settings: dict[str, str] = {}
    parents: tuple[str, ...] = ()


class Provenance(msgspec.Struct, frozen=True):
    """The step that made a file, and those of its ancestors by the SHA-256 of their files.

    Attributes:
        step: None if nothing is known.
        ancestors: an ancestor that is missing is unknown.
    """

    step: Step | None = None
    ancestors: dict[str, Step] = {}

    def walk(self) -> Iterator[Step | None]:
        """Yield the file's own step and those of all its ancestors; None for one of which nothing is known."""
        yield self.step
        known, met = packaged_steps() | self.ancestors, set[str]()
        waiting = list(self.step.parents if self.step else ())
        while waiting:
            digest = waiting.pop()
            if digest not in met:
                met.add(digest)
                step = known.get(digest)
                yield step
                waiting.extend(step.parents if step else ())

    @property
    def complete(self) -> bool:
        """Whether something is known of the file and of each of its ancestors."""
        return None not in self.walk()

    def labels_of(self, classes: Collection[int], vocabulary: Vocabulary) -> tuple[str, list[int]] | None:
        """Return the first training set with that vocabulary and ground truth of some of `classes`, and those classes.

        Args:
            classes: contiguous ids.
            vocabulary: training sets with other class names do not count: those are a pre-training. Names are compared
                as CLIP reads them, in any order.
        """
        words = list(map(clip_tokens, vocabulary.names))
        for dataset in sorted({d for step in self.walk() if step for d in step.datasets}, key=lambda d: d.name):
            found = list(map(clip_tokens, dataset.classes))
            if sorted(found) == sorted(words):
                told = sorted(k for k in set(classes) if found.index(words[k]) in dataset.labeled)
                if told:
                    return dataset.name, told
        return None

    def as_entry(self) -> dict[str, Any]:
        """Return the entry of a file, of plain types."""
        return msgspec.to_builtins(self)


@lru_cache(maxsize=1)
def packaged_steps() -> dict[str, Step]:
    """Return the steps that made the packaged weights, by SHA-256 of their files."""
    return read_json(local_path(f"zsseg_d2://weights/{RECORD}"), dict[str, Step])


def training_set(name: str) -> TrainingSet:
    """Describe a registered dataset; of one without classes, such as phrases, the name alone."""
    metadata = MetadataCatalog.get(name)
    vocabulary = metadata.get("vocabulary")
    if vocabulary is None:
        return TrainingSet(name)
    without = {*metadata.get("deleted_contiguous_ids", ()), *metadata.get("pseudo_label_contiguous_ids", ())}
    labeled = tuple(k for k in range(len(vocabulary.names)) if k not in without)
    return TrainingSet(name, tuple(vocabulary.names), labeled)


def derived(
    program: str,
    files: Sequence[str | Path],
    *,
    datasets: Sequence[TrainingSet] = (),
    settings: dict[str, str] | None = None,
) -> Provenance:
    """Return the provenance of a file that is made of others.

    Args:
        program: what makes it.
        files: local files of weights.
        datasets: training sets that it reads besides.
        settings: for the reader.
    """
    ancestors: dict[str, Step] = {}
    parents = []
    for file in files:
        digest, behind = _digest(file), provenance_of(file)
        parents.append(digest)
        ancestors |= behind.ancestors
        if behind.step is not None:
            ancestors[digest] = behind.step
    return Provenance(Step(program, tuple(datasets), settings or {}, tuple(parents)), ancestors)


def exported(file: Path, trained_on: Sequence[str] | None) -> Provenance:
    """Return the provenance of an exported file.

    Args:
        file: what is exported.
        trained_on: names of registered datasets behind weights of which nothing is known; None: not told.

    Raises:
        ConfigError: a dataset is unknown, or the weights say themselves what they were trained on.
    """
    found = derived("export_weights", [file])
    if trained_on is None:
        return found
    before = provenance_of(file)
    if before.complete:
        raise ConfigError(f"--trained-on: '{file}' says itself what it was trained on. Fix: leave the option out.")
    names = MetadataCatalog.list()
    for name in trained_on:
        if name not in names:
            raise ConfigError(f"--trained-on {name}: there is no such dataset.{did_you_mean(name, names)}")
    known = {dataset for step in before.walk() if step for dataset in step.datasets}
    told = Step("declared", tuple(sorted(known | {training_set(name) for name in trained_on}, key=repr)))
    return msgspec.structs.replace(found, ancestors={_digest(file): told})


def provenance_of(file: str | Path) -> Provenance:
    """Return what is known of a local file of weights.

    That is what the file itself says; else what is known of packaged weights, by their hash; else what the
    ``config.yaml`` beside a checkpoint says of the training that wrote it.
    """
    status = Path(file).stat()
    found = _stated_provenance(str(file), status.st_size, status.st_mtime_ns)
    return _from_config_beside(Path(file)) if found is None else found


@lru_cache(maxsize=64)
def _stated_provenance(file: str, _size: int, _changed: int) -> Provenance | None:
    """Return what a file says, or what is known of its content."""
    try:
        entry = read_entries(file).get(ENTRY)
    except UnusableFile as error:
        logger.debug("no provenance: %s", error)
        return None
    if entry is not None:
        return decoded(entry, file)
    packaged = packaged_steps().get(_digest(file))
    return None if packaged is None else Provenance(packaged)


def decoded(entry: object, file: str) -> Provenance:
    """Read an entry; what cannot be read counts as unknown, with a warning that names `file`."""
    try:
        return msgspec.convert(entry, Provenance)
    except (msgspec.ValidationError, RecursionError) as error:
        logger.warning("%s: what it says of its origin cannot be read (%s); it counts as unknown.", file, error)
        return Provenance()


def _from_config_beside(file: Path) -> Provenance:
    """Read a checkpoint's origin from the config of its training, as older versions left it."""
    settings = file.parent / "config.yaml"
    if not settings.is_file() or file.suffix != ".pth":  # weights files may have been moved there
        return Provenance()
    try:
        content = read_yaml(settings)
    except ConfigError as error:
        logger.warning("%s", error)
        return Provenance()
    names = list((content.get("DATASETS") or {}).get("TRAIN") or ())
    registered = [name for name in names if name in MetadataCatalog.list()]
    start = (content.get("MODEL") or {}).get("WEIGHTS")
    files = [local_path(start)] if isinstance(start, str) and start else []
    if not registered:
        return Provenance()
    there = [f for f in files if f.is_file() and f.resolve() != file.resolve()]
    found = derived("train", there, datasets=[training_set(name) for name in registered])
    known = len(registered) == len(names) and len(there) == len(files)
    return found if known else msgspec.structs.replace(found, step=_with_unknown_parent(found.step))


def _with_unknown_parent(step: Step | None) -> Step | None:
    return msgspec.structs.replace(step, parents=(*step.parents, "unknown")) if step else None


def record_weights(folder: Path) -> None:
    """Bring the ``provenance.json`` of a folder of weights up to date; a folder without one stays without it.

    What files say of themselves goes first. Files that say nothing keep their entry; entries that no file there has, or
    builds on, are dropped.

    Raises:
        UnusableFile: a file of weights or the record cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        return
    known = read_json(path, dict[str, Step])
    waiting = []
    for file in sorted(folder.glob(f"*{SAFETENSORS}")):
        waiting.append(file_digest(file))
        entry = read_entries(file).get(ENTRY)
        said = Provenance() if entry is None else decoded(entry, str(file))
        known |= said.ancestors
        if said.step is not None:
            known[waiting[-1]] = said.step
    kept: dict[str, Step] = {}
    while waiting:
        digest = waiting.pop(0)
        if digest in known and digest not in kept:
            kept[digest] = known[digest]
            waiting = [*known[digest].parents, *waiting]
    with atomic_path(path) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")


def _digest(file: str | Path) -> str:
    status = Path(file).stat()
    return _cached_digest(str(file), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _cached_digest(file: str, _size: int, _changed: int) -> str:
    return file_digest(file)
