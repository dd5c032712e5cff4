"""Invocab training sets: the kept labels of a configuration, and pseudo-labels of the deleted classes.

``{prefix}_train_invocab_{nnn}`` reads the folder that ``tools/make_pseudo_labels.py`` writes by default. Loading never
runs a model: it looks at the manifest, and says what to do where the folder is missing, unfinished or of another kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from detectron2.data import MetadataCatalog

from ..class_deletion.configurations import CONFIGURATIONS, configuration
from ..panoptic.cityscapes import CATEGORIES, FAMILIES, Family, panoptic_paths, register_cityscapes_panoptic
from ..panoptic.records import DatasetError, data_folder
from ..panoptic.split_writer import MANIFEST, read_manifest

KIND = "pseudo_labels"
FORMAT = 1  # raise when the same arguments give other files


def family_of(names: Iterable[str]) -> Family:
    """The family of the first data set of `names` that belongs to one.

    Raises:
        DatasetError: none does.
    """
    names = list(names)
    for name in names:
        for family in FAMILIES:
            if name.startswith(f"{family.prefix}_"):
                return family
    raise DatasetError(
        f"DATASETS.TEST is {', '.join(names) or 'empty'}; pseudo-labels are made for data sets whose names start with "
        f"{' or '.join(f.prefix for f in FAMILIES)}."
    )


def invocab_name(family: Family, name: str, split: str = "train") -> str:
    """The registered name of a family's pseudo-labels for configuration `name`."""
    return f"{family.prefix}_{split}_invocab_{name}"


def invocab_folder(family: Family, name: str) -> Path:
    """Where a family's pseudo-labels for configuration `name` are looked up at this moment."""
    return data_folder(f"{family.folder_name}_invocab_{name}")


def deleted_ids(name: str) -> tuple[int, ...]:
    """Contiguous ids of the classes that configuration `name` deletes.

    Raises:
        DatasetError: there is no such configuration, or it deletes nothing.
    """
    label_ids = configuration(name)
    if not label_ids:
        raise DatasetError(f"Configuration {name} deletes no class, so there is nothing to label; choose another.")
    return tuple(k for k, category in enumerate(CATEGORIES) if category.id in label_ids)


def check_pseudo_labels(root: Path, split: str, name: str, command: str) -> None:
    """Look at the manifest of a folder of pseudo-labels.

    Args:
        name: the configuration they must be made for.
        command: how to make them, for messages.
    Raises:
        DatasetError: there are none, they are not finished, or they are of another kind than `name` asks for.
    """
    entry = read_manifest(root)["splits"].get(split)
    json_file = Path(panoptic_paths(root, split)["panoptic_json"])
    if entry is None and not root.is_dir():
        raise DatasetError(f"There are no pseudo-labels {root}; make them with `{command}`.")
    if entry is None:
        raise DatasetError(f"The pseudo-labels {root} are not finished; run the same command again: `{command}`.")
    if entry.get("kind") != KIND:
        raise DatasetError(f"{root} holds no pseudo-labels; move it away, and make them with `{command}`.")
    if entry.get("configuration") != name:
        raise DatasetError(
            f"{root} holds pseudo-labels of configuration {entry.get('configuration')}, not {name}; train on the data "
            f"set of that configuration, or make them with `{command} --overwrite`."
        )
    if (entry.get("arguments") or {}).get("format") != FORMAT:
        raise DatasetError(
            f"{root} was made by another version of this program; make it again with `{command} --overwrite`."
        )
    try:
        found = hashlib.sha256(json_file.read_bytes()).hexdigest()
    except OSError:
        found = None
    if found is None or found != entry.get("panoptic_json_sha256"):
        problem = "is missing" if found is None else "was changed or replaced"
        raise DatasetError(
            f"{json_file} {problem}: {root / MANIFEST} describes another file of {entry.get('images')} images; make the "
            f"pseudo-labels again with `{command} --overwrite`."
        )


def register_all_invocab() -> None:
    """``…_train_invocab_001`` to ``…_train_invocab_008`` of Cityscapes and MiniCity.

    No label is deleted from them: ``deleted_contiguous_ids`` is empty, and ``pseudo_label_contiguous_ids`` says which
    classes have pseudo-labels. Evaluation on them uses the complete annotation of the training set.
    """
    for family in FAMILIES:
        complete = MetadataCatalog.get(f"{family.prefix}_train").load_complete_records
        for name, label_ids in CONFIGURATIONS.items():
            if not label_ids:
                continue
            dataset = invocab_name(family, name)
            register_cityscapes_panoptic(
                dataset, partial(invocab_folder, family, name), "train", prepare=partial(_prepare, family, name)
            )
            metadata = MetadataCatalog.get(dataset)
            metadata.set(pseudo_label_contiguous_ids=deleted_ids(name))
            vars(metadata)["load_complete_records"] = complete  # Metadata itself refuses a second value


def _prepare(family: Family, name: str, root: Path) -> None:
    command = f"python tools/make_pseudo_labels.py --config-file {family.zero_shot_config} --configuration {name}"
    check_pseudo_labels(root, "train", name, command)
    if family.prepare is not None:
        family.prepare(family.folder())  # the images are links into it
