"""From the command line to a config: files merged in order over the defaults, options over them, then validated."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from detectron2.config import CfgNode, get_cfg

from ... import add_zsseg_config
from ...plugins import load_plugins
from ..errors import ConfigError, did_you_mean
from .dataset_files import add_files_of_options, count_classes, dataset_files, register_dataset_files
from .packaged import config_names, config_root, find_config, find_configs, packaged_configs, packaged_suites
from .references import leaves, resolve_references
from .renamed import rename_keys, rename_options
from .validation import validate
from .yaml_files import read_yaml

__all__ = [
    "config_root",
    "find_config",
    "find_configs",
    "leaves",
    "merge_files",
    "merge_options",
    "packaged_configs",
    "packaged_suites",
    "setup_cfg",
]


def setup_cfg(args: argparse.Namespace, *, check: bool = True) -> CfgNode:
    """Build the config of a run: defaults, then the config files in order, then KEY VALUE pairs; frozen.

    Args:
        args: the parsed command line. ``config_file`` is one name or several; ``opts``, ``eval_only``, ``num_gpus`` and
            ``num_machines`` are optional.
        check: whether to run :func:`zsseg_d2.engine.config.validation.validate`.

    Raises:
        ConfigError: a file, key or value is wrong; the message names it and the remedy.
    """
    try:
        load_plugins()
    except ImportError as error:
        raise ConfigError(str(error)) from error
    cfg = get_cfg()
    add_zsseg_config(cfg)
    merge_files(cfg, find_configs(config_names(args.config_file)))
    merge_options(cfg, getattr(args, "opts", None) or [])
    resolve_references(cfg)
    register_dataset_files(cfg)
    count_classes(cfg)
    if check:
        world_size = getattr(args, "num_gpus", 1) * getattr(args, "num_machines", 1)
        validate(cfg, eval_only=getattr(args, "eval_only", False), world_size=max(world_size, 1))
    cfg.freeze()
    return cfg


def merge_files(cfg: CfgNode, paths: Sequence[Path]) -> None:
    """Merge YAML files and their bases into `cfg`, in order.

    A tower after another file also marks OUTPUT_DIR with its name, unless the files do that themselves, so that the
    results of two towers stay apart.

    Raises:
        ConfigError: unreadable YAML, an unknown key, or a value of the wrong type.
    """
    for number, path in enumerate(paths):
        values = rename_keys(read_yaml(path))
        known = dict(leaves(cfg))
        for key in _unknown_keys(values, cfg):
            raise ConfigError(f"{path}: unknown config key '{key}'.{did_you_mean(key, known)}")
        files = [*cfg.DATASETS.FILES, *dataset_files(values)]
        _merge(cfg.merge_from_other_cfg, CfgNode(values), str(path))
        cfg.DATASETS.FILES = list(dict.fromkeys(files))
        if number and _is_tower(values) and "OUTPUT_DIR" not in values and "${ZSSEG.TOWER." not in cfg.OUTPUT_DIR:
            cfg.OUTPUT_DIR += "_${ZSSEG.TOWER.NAME}"


def merge_options(cfg: CfgNode, options: Sequence[str]) -> None:
    """Merge KEY VALUE pairs into `cfg`.

    Raises:
        ConfigError: a key without a value, an unknown key, or a value of the wrong type.
    """
    if len(options) % 2:
        raise ConfigError(f"Options are KEY VALUE pairs, but there are {len(options)} words: {' '.join(options)}")
    options = rename_options(list(options))
    known = dict(leaves(cfg))
    for key in options[::2]:
        if key not in known:
            hint = " (options of the program, such as --eval-only, stand before KEY VALUE)" if key[:1] == "-" else ""
            raise ConfigError(f"Unknown config key '{key}'{hint}.{did_you_mean(key, known)}")
    _merge(cfg.merge_from_list, add_files_of_options(cfg, options), "command line")


def _merge(merge: Callable, values: object, source: str) -> None:
    try:
        merge(values)
    except (ValueError, KeyError, AssertionError, SyntaxError, TypeError, AttributeError) as error:
        raise ConfigError(f"{source}: {str(error).strip()}") from error
    except (MemoryError, RecursionError) as error:  # of the parser of literals
        raise ConfigError(f"{source}: a value is nested too deeply.") from error


def _is_tower(values: dict) -> bool:
    """Whether the values of a file name a tower."""
    zsseg = values.get("ZSSEG")
    tower = zsseg.get("TOWER") if isinstance(zsseg, dict) else None
    return isinstance(tower, dict) and "NAME" in tower


def _unknown_keys(values: dict, cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if key not in cfg:
            yield f"{prefix}{key}"
        elif isinstance(cfg[key], CfgNode):
            if not isinstance(value, dict):
                raise ConfigError(
                    f"{prefix}{key}={value}: it must be keys below {prefix}{key}, not a value. "
                    "Fix: remove it, or write keys below it."
                )
            yield from _unknown_keys(value, cfg[key], f"{prefix}{key}.")
