"""Command line -> config: finds the file, merges it and the options into the defaults, validates."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from detectron2.config import CfgNode, get_cfg

from ... import add_zsseg_config
from ..errors import ConfigError, did_you_mean
from .validation import validate
from .yaml_files import read_yaml


def config_root() -> Path:
    """The folder of the configs that come with the package: installed, or at the top of the repository."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def packaged_configs() -> list[str]:
    """Names of the configs that come with the package, relative to :func:`config_root`; bases (``_…``) left out."""
    return _packaged(lambda name: not name.startswith(("_", "suite")))


def packaged_suites() -> list[str]:
    """Names of the suite files (``suite*.yaml``) that come with the package, relative to :func:`config_root`."""
    return _packaged(lambda name: name.startswith("suite"))


def _packaged(wanted: Callable[[str], bool]) -> list[str]:
    root = config_root()
    return sorted(p.relative_to(root).as_posix() for p in root.glob("**/*.yaml") if wanted(p.name))


def find_config(name: str | os.PathLike, known: Sequence[str] | None = None) -> Path:
    """A config file by its path, or by its name among the packaged ones (``minicity/zero_shot.yaml``).

    Args:
        known: names for the message; None: those of :func:`packaged_configs`.
    Raises:
        ConfigError: there is no such file.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    inside = Path(*path.parts[1:]) if path.parts[:1] == ("configs",) else path
    if not path.is_absolute() and (config_root() / inside).is_file():
        return config_root() / inside
    known = packaged_configs() if known is None else known
    raise ConfigError(
        f"There is no config file '{name}', neither in {Path.cwd()} nor among the packaged ones."
        + (did_you_mean(inside.as_posix(), known) or f" Packaged: {', '.join(known)}.")
    )


def setup_cfg(args: argparse.Namespace, *, check: bool = True) -> CfgNode:
    """Defaults, then the config file, then the command line's KEY VALUE pairs; validated and frozen.

    Args:
        args: of Detectron2's argument parser; ``config_file``, ``opts``, ``eval_only``, ``num_gpus`` and ``num_machines``
            are read, and only the first is needed.
        check: run :func:`zsseg_d2.engine.config.validation.validate`.
    Raises:
        ConfigError: see the message.
    """
    cfg = get_cfg()
    add_zsseg_config(cfg)
    if args.config_file:
        merge_file(cfg, find_config(args.config_file))
    merge_options(cfg, getattr(args, "opts", None) or [])
    if check:
        world_size = getattr(args, "num_gpus", 1) * getattr(args, "num_machines", 1)
        validate(cfg, eval_only=getattr(args, "eval_only", False), world_size=max(world_size, 1))
    cfg.freeze()
    return cfg


def merge_file(cfg: CfgNode, path: Path) -> None:
    """Merge a YAML file and its bases into `cfg`.

    Raises:
        ConfigError: unreadable YAML, an unknown key, or a value of the wrong type.
    """
    values = read_yaml(path)
    known = dict(leaves(cfg))
    for key in _unknown_keys(values, cfg):
        raise ConfigError(f"{path}: unknown config key '{key}'.{did_you_mean(key, known)}")
    _merge(cfg.merge_from_other_cfg, CfgNode(values), str(path))


def merge_options(cfg: CfgNode, options: Sequence[str]) -> None:
    """Merge KEY VALUE pairs into `cfg`.

    Raises:
        ConfigError: a key without a value, an unknown key, or a value of the wrong type.
    """
    options = list(options)
    if len(options) % 2:
        raise ConfigError(f"Options are KEY VALUE pairs, but there are {len(options)} words: {' '.join(options)}")
    known = dict(leaves(cfg))
    for key in options[::2]:
        if key not in known:
            hint = (
                " (options of the program, such as --eval-only, stand before KEY VALUE)" if key.startswith("-") else ""
            )
            raise ConfigError(f"Unknown config key '{key}'{hint}.{did_you_mean(key, known)}")
    _merge(cfg.merge_from_list, options, "command line")


def _merge(merge, values, source: str) -> None:
    try:
        merge(values)
    except (ValueError, KeyError, AssertionError, SyntaxError) as error:
        raise ConfigError(f"{source}: {error}") from error


def leaves(cfg: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every key, with dots, and its value."""
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _unknown_keys(values: dict, cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if key not in cfg:
            yield f"{prefix}{key}"
        elif isinstance(cfg[key], CfgNode) and isinstance(value, dict):
            yield from _unknown_keys(value, cfg[key], f"{prefix}{key}.")
