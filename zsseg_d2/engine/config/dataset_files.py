"""DATASETS.FILES: dataset files that config files and the command line name, and their registration."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from ...data.dataset_files.registration import register_dataset_file
from ...data.errors import DatasetError
from ...vocabulary import Vocabulary
from ..errors import ConfigError

KEY = "DATASETS.FILES"


def dataset_files(values: Mapping, folder: Path | None = None) -> list[str]:
    """Return DATASETS.FILES of a config file's values.

    Args:
        values: nested dictionaries, as the file has them.
        folder: what relative names are relative to. Default: they stay as they are.

    Raises:
        ConfigError: it is not a list of names.
    """
    datasets = values.get("DATASETS")
    listed = datasets.get("FILES") if isinstance(datasets, Mapping) else None
    return as_paths(listed, folder)


def as_paths(listed: Any, folder: Path | None) -> list[str]:
    """Return the names of dataset files, as absolute paths if they are relative to a `folder`.

    Args:
        listed: names, one name, or None.
        folder: what relative names are relative to. Default: they stay as they are.

    Raises:
        ConfigError: it is not a list of names.
    """
    names = [] if listed in (None, "") else [listed] if isinstance(listed, str) else listed
    if not isinstance(names, Sequence) or not all(_is_name(name) for name in names):
        raise ConfigError(f"{KEY}={listed}: it must be a list of names of YAML files.")
    return [str(name) if folder is None else os.path.realpath(folder / os.path.expanduser(name)) for name in names]


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(name.strip()) and "\0" not in name


def add_files_of_options(cfg: CfgNode, options: Sequence[str]) -> list[str]:
    """Add the DATASETS.FILES of KEY VALUE pairs, relative to the working directory, to those of `cfg`.

    Returns:
        The other options.
    """
    rest: list[str] = []
    for key, value in zip(options[::2], options[1::2]):
        if key == KEY:
            paths = as_paths(CfgNode._decode_cfg_value(value), Path.cwd())
            cfg.DATASETS.FILES = list(dict.fromkeys([*cfg.DATASETS.FILES, *paths]))
        else:
            rest += [key, value]
    return rest


def register_dataset_files(cfg: CfgNode) -> None:
    """Register the datasets of DATASETS.FILES.

    Raises:
        ConfigError: a file, or one that it names, is wrong; the message names it and the remedy.
    """
    origins: dict[str, str] = {}
    for path in cfg.DATASETS.FILES:
        try:
            name = register_dataset_file(path).prefix
        except DatasetError as error:
            raise ConfigError(f"{KEY}: {error}") from error
        if name in origins:
            raise ConfigError(f"{KEY}: {origins[name]} and {path} describe the same dataset '{name}'. Fix: name one.")
        origins[name] = path


def count_classes(cfg: CfgNode) -> None:
    """Set MODEL.SEM_SEG_HEAD.NUM_CLASSES to the size of the training vocabulary, if the config does not give it.

    What cannot be read here stays 0; :func:`zsseg_d2.engine.config.validation.validate` names the problem.
    """
    head = cfg.MODEL.SEM_SEG_HEAD
    if head.NUM_CLASSES != 0:
        return
    train = cfg.DATASETS.TRAIN
    known = train and isinstance(train, (list, tuple)) and train[0] in MetadataCatalog.list()
    vocabulary = MetadataCatalog.get(train[0]).get("vocabulary") if known else None
    if vocabulary is None:
        try:
            vocabulary = Vocabulary.load(cfg.ZSSEG.PRETRAINING_VOCABULARY)
        except (ValueError, OSError, TypeError):
            return
    head.NUM_CLASSES = len(vocabulary)
