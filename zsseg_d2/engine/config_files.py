"""Command line -> config: finds the file, reads YAML without running code, merges, validates."""

from __future__ import annotations

import argparse
import ast
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from detectron2.config import CfgNode, get_cfg

from .. import add_zsseg_config
from .errors import ConfigError, near_matches
from .validation import validate

BASE = "_BASE_"


def config_root() -> Path:
    """The folder of the configs that come with the package: installed, or at the top of the repository."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def packaged_configs() -> list[str]:
    """Names of the configs that come with the package, relative to :func:`config_root`; bases (``_…``) left out."""
    root = config_root()
    return sorted(p.relative_to(root).as_posix() for p in root.glob("**/*.yaml") if not p.name.startswith("_"))


def find_config(name: str | os.PathLike) -> Path:
    """A config file by its path, or by its name among the packaged ones (``minicity/zero_shot.yaml``).

    Raises:
        ConfigError: there is no such file.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    inside = Path(*path.parts[1:]) if path.parts[:1] == ("configs",) else path
    if not path.is_absolute() and (config_root() / inside).is_file():
        return config_root() / inside
    known = packaged_configs()
    raise ConfigError(
        f"There is no config file '{name}', neither in {Path.cwd()} nor among the packaged ones."
        + (near_matches(inside.as_posix(), known) or f" Packaged: {', '.join(known)}.")
    )


def setup_cfg(args: argparse.Namespace, *, check: bool = True) -> CfgNode:
    """Defaults, then the config file, then the command line's KEY VALUE pairs; validated and frozen.

    Args:
        args: of Detectron2's argument parser; ``config_file``, ``opts``, ``eval_only``, ``num_gpus`` and ``num_machines``
            are read, and only the first is needed.
        check: run :func:`zsseg_d2.engine.validation.validate`.
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
    known = dict(_leaves(cfg))
    for key in _unknown_keys(values, cfg):
        raise ConfigError(f"{path}: unknown config key '{key}'.{near_matches(key, known)}")
    _merge(cfg.merge_from_other_cfg, CfgNode(values), str(path))


def merge_options(cfg: CfgNode, options: Sequence[str]) -> None:
    """Merge KEY VALUE pairs into `cfg`.

    Raises:
        ConfigError: a key without a value, an unknown key, or a value of the wrong type.
    """
    options = list(options)
    if len(options) % 2:
        raise ConfigError(f"Options are KEY VALUE pairs, but there are {len(options)} words: {' '.join(options)}")
    known = dict(_leaves(cfg))
    for key in options[::2]:
        if key not in known:
            hint = " (options of the program, such as --eval-only, stand before KEY VALUE)" if key.startswith("-") else ""
            raise ConfigError(f"Unknown config key '{key}'{hint}.{near_matches(key, known)}")
    _merge(cfg.merge_from_list, options, "command line")


def _merge(merge, values, source: str) -> None:
    try:
        merge(values)
    except (ValueError, KeyError, AssertionError, SyntaxError) as error:
        raise ConfigError(f"{source}: {error}") from error


def _leaves(cfg: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _unknown_keys(values: dict, cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if key not in cfg:
            yield f"{prefix}{key}"
        elif isinstance(cfg[key], CfgNode) and isinstance(value, dict):
            yield from _unknown_keys(value, cfg[key], f"{prefix}{key}.")


def read_yaml(path: Path, *, _above: tuple[Path, ...] = ()) -> dict:
    """The values of a YAML file merged over those of the files under ``_BASE_`` (relative to the file itself).

    Raises:
        ConfigError: a base is missing or circular, the YAML is damaged, or it would run Python.
    """
    path = Path(path)
    if path.resolve() in _above:
        raise ConfigError(f"{path}: the file is its own {BASE}.")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise ConfigError(f"{_above[-1] if _above else 'config'}: the {BASE} file '{path}' does not exist.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected config keys, found a {type(values).__name__}.")
    bases = values.pop(BASE, [])
    merged: dict = {}
    for base in [bases] if isinstance(bases, str) else bases:
        _update(merged, read_yaml(path.parent / Path(base).expanduser(), _above=(*_above, path.resolve())))
    _update(merged, values)
    return merged


def _update(below: dict, above: dict) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _update(below[key], value)
        else:
            below[key] = value


class _Loader(yaml.SafeLoader):
    """Safe YAML, and of the Python tags only the arithmetic that Mask2Former's and FC-CLIP's files use."""


def _size_list(loader: yaml.SafeLoader, node: yaml.Node) -> list[int]:
    """``!!python/object/apply:eval ["[int(x * 0.1 * 640) for x in range(5, 21)]"]``, computed without ``eval``."""
    text = loader.construct_sequence(node)[0] if isinstance(node, yaml.SequenceNode) else None
    try:
        listed = ast.parse(text, mode="eval").body
        (loop,) = listed.generators
        bounds = [ast.literal_eval(a) for a in loop.iter.args]
        if loop.ifs or loop.iter.func.id != "range" or listed.elt.func.id != "int" or max(map(abs, bounds)) > 10_000:
            raise ValueError(text)
        return [int(_product(listed.elt.args[0], loop.target.id, x)) for x in range(*bounds)]
    except (AttributeError, SyntaxError, TypeError, ValueError, KeyError):
        raise yaml.constructor.ConstructorError(
            None, None, f"it asks to run Python code ({text!r}), which is not done; write the value itself", node.start_mark
        ) from None


def _product(node: ast.expr, name: str, value: float) -> float:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _product(node.left, name, value) * _product(node.right, name, value)
    if isinstance(node, ast.Name) and node.id == name:
        return value
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    raise ValueError(ast.dump(node))


_Loader.add_constructor("tag:yaml.org,2002:python/object/apply:eval", _size_list)
