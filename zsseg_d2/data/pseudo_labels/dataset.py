"""Pseudo-label training sets: the kept labels of a configuration, and predictions for the deleted classes.

``{prefix}_train_pseudo_labels_{configuration}`` reads the folder that ``tools/make_pseudo_labels.py`` writes by
default. Loading never runs a model: it checks the manifest, and says what to do if the folder is missing, unfinished
or of another kind. Training on such a set is the published method "invocab".
``{prefix}_train_region_labels_{configuration}`` is a second kind, with the regions without labels as masks (see
:mod:`.regions`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from detectron2.data import MetadataCatalog

from ...reading import JSON_LIMIT, UnusableFile, read_bytes
from ..errors import DatasetError
from ..panoptic.family import PanopticFamily
from ..panoptic.registration import PanopticPaths, register_panoptic
from ..panoptic.split_writer import MANIFEST, read_manifest
from ..paths import data_folder

KIND = "pseudo_labels"
REGIONS = "region_labels"
KINDS = (KIND, REGIONS)
FORMAT = 1  # raise when the same arguments give other files
logger = logging.getLogger(__name__)


def pseudo_labels_name(family: PanopticFamily, configuration: str, split: str = "train", kind: str = KIND) -> str:
    """Return the registered name of a family's pseudo-labels for `configuration`."""
    return f"{family.prefix}_{split}_{kind}_{configuration}"


def pseudo_labels_folder(family: PanopticFamily, configuration: str, kind: str = KIND) -> Path:
    """Return where a family's pseudo-labels for `configuration` are written by default."""
    return data_folder(f"{family.folder_name}_{kind}_{configuration}")


def find_pseudo_labels(family: PanopticFamily, configuration: str, kind: str = KIND) -> Path:
    """Return where a family's pseudo-labels for `configuration` are read from.

    This is :func:`pseudo_labels_folder`, or the folder of the name used before (``…_invocab_008``) if only that exists.
    """
    folder, legacy = pseudo_labels_folder(family, configuration, kind), _legacy_folder(family, configuration)
    return legacy if kind == KIND and legacy.is_dir() and not folder.exists() else folder


def check_pseudo_labels(
    root: Path, family: PanopticFamily, split: str, configuration: str, command: str, kind: str = KIND
) -> None:
    """Check the manifest of a folder of pseudo-labels.

    Args:
        root: the folder.
        family: the dataset that was labelled.
        split: a split of it.
        configuration: the configuration they must be made for.
        command: how to make them, for messages.
        kind: one of :data:`KINDS`.

    Raises:
        DatasetError: there are none, they are unfinished, or they are of another kind than `configuration` asks for.
    """
    entry = read_manifest(root)["splits"].get(split)
    if entry is None and not root.is_dir():
        raise DatasetError(f"There are no pseudo-labels {root}; make them with `{command}`.")
    if entry is None:
        raise DatasetError(f"The pseudo-labels {root} are not finished; run the same command again: `{command}`.")
    if entry.get("kind") != kind:
        what = "pseudo-labels" if kind == KIND else "pseudo-labels of regions"
        raise DatasetError(f"{root} does not hold {what}; move it away, and make them with `{command}`.")
    if entry.get("configuration") != configuration:
        raise DatasetError(
            f"{root} holds pseudo-labels of configuration {entry.get('configuration')}, not {configuration}; train on "
            f"the dataset of that configuration, or make them with `{command} --overwrite`."
        )
    arguments = entry.get("arguments") or {}
    if arguments.get("format") != FORMAT:
        raise DatasetError(
            f"{root} was made by another version of this program; make it again with `{command} --overwrite`."
        )
    if arguments.get("deleted_label_ids") != list(family.deleted_label_ids(configuration)):
        raise DatasetError(
            f"{root} was made when configuration {configuration} deleted other classes; make it again with "
            f"`{command} --overwrite`."
        )
    _check_json(root, family.layout.paths(root, split).panoptic_json, entry, command)


def _check_json(root: Path, panoptic_json: Path, entry: dict, command: str) -> None:
    """Check that the annotations are those that the manifest's `entry` describes."""
    try:
        found = hashlib.sha256(read_bytes(panoptic_json, JSON_LIMIT)).hexdigest()
    except FileNotFoundError:
        found = None
    except UnusableFile as error:
        raise DatasetError(str(error)) from None
    if found is None or found != entry.get("panoptic_json_sha256"):
        problem = "is missing" if found is None else "was changed or replaced"
        raise DatasetError(
            f"{panoptic_json} {problem}: {root / MANIFEST} describes another file of {entry.get('images')} images; "
            f"make the pseudo-labels again with `{command} --overwrite`."
        )


def pseudo_label_sets(family: PanopticFamily, kinds: Sequence[str] = KINDS) -> dict[str, tuple[str, str]]:
    """Return registered name -> (kind, configuration), for every configuration of `family` that deletes a class.

    There are none of a semantic dataset: pseudo-labels are panoptic.
    """
    if family.semantic:
        return {}
    deleting = [name for name, label_ids in family.configurations.items() if label_ids and "train" in family.splits]
    return {pseudo_labels_name(family, name, kind=kind): (kind, name) for kind in kinds for name in deleting}


def register_pseudo_labels(family: PanopticFamily) -> None:
    """Register the pseudo-labels of every configuration of `family` that deletes a class.

    No label is deleted from them: ``deleted_contiguous_ids`` is empty, and ``pseudo_label_contiguous_ids`` says which
    classes have pseudo-labels. Evaluation on them uses the complete annotation of the training set.
    """
    for name, (kind, configuration) in pseudo_label_sets(family).items():
        _register(family, configuration, name, kind)


def register_legacy_names(family: PanopticFamily) -> None:
    """Register pseudo-labels under their former names ``{prefix}_train_invocab_{configuration}``, which warn once."""
    for _, configuration in pseudo_label_sets(family, (KIND,)).values():
        _register(family, configuration, f"{family.prefix}_train_invocab_{configuration}", KIND)


def _register(family: PanopticFamily, configuration: str, name: str, kind: str) -> None:
    register_panoptic(
        name,
        partial(_paths, family, configuration, kind),
        partial(_load, family, configuration, kind),
        categories=family.categories,
        vocabulary=family.vocabulary,
        prepare=partial(_prepare, family, configuration, name, kind),
        metadata={
            **family.out_metadata(),
            "pseudo_label_contiguous_ids": family.deleted_ids(configuration),
            "manifest_entry": _ManifestEntry(family, configuration, kind),
            "load_complete_records": MetadataCatalog.get(f"{family.prefix}_train").load_complete_records,
        },
    )


def _paths(family: PanopticFamily, configuration: str, kind: str) -> PanopticPaths:
    return family.layout.paths(find_pseudo_labels(family, configuration, kind), "train")


def _load(family: PanopticFamily, configuration: str, kind: str) -> list[dict]:
    return family.layout.load(find_pseudo_labels(family, configuration, kind), "train", family.categories)


@dataclass(frozen=True)
class _ManifestEntry:
    """Reads what the manifest says of some pseudo-labels. Equal ones are equal, which functions are not."""

    family: PanopticFamily
    configuration: str
    kind: str

    def __call__(self) -> dict:
        root = find_pseudo_labels(self.family, self.configuration, self.kind)
        return read_manifest(root)["splits"]["train"]


def _prepare(family: PanopticFamily, configuration: str, name: str, kind: str) -> None:
    current = pseudo_labels_name(family, configuration, kind=kind)
    if name != current:
        _warn_once(name, current)
    config = family.zero_shot_config or "CONFIG_OF_THE_ZERO_SHOT_MODEL"
    command = f"python tools/make_pseudo_labels.py --config-file {config} --configuration {configuration}"
    if kind == REGIONS:
        command += " ZSSEG.PSEUDO_LABELS.REGIONS True"
    folder = find_pseudo_labels(family, configuration, kind)
    check_pseudo_labels(folder, family, "train", configuration, command, kind)
    if family.prepare is not None:
        family.prepare(family.folder())  # the images are links into it


def _legacy_folder(family: PanopticFamily, configuration: str) -> Path:
    return data_folder(f"{family.folder_name}_invocab_{configuration}")


@cache
def _warn_once(old: str, new: str) -> None:
    logger.warning("The dataset name '%s' is deprecated. Fix: write '%s'.", old, new)
