"""YAML files with bases, read without running code."""

from __future__ import annotations

import ast
import logging
from pathlib import Path
from typing import Any

import yaml

from ...reading import MB, UnusableFile, printable, read_text, yaml_problem
from ..errors import ConfigError
from .dataset_files import dataset_files
from .packaged import config_root, find_configs
from .renamed import renamed_file

logger = logging.getLogger(__name__)

BASE = "_BASE_"
LIMIT = MB
"""Bytes of the largest YAML file that is read."""
_DEEPEST, _MOST_VALUES = 20, 20_000


def read_yaml(path: Path, *, _above: tuple[Path, ...] = ()) -> dict:
    """Read a YAML file, merged over the files under ``_BASE_`` (relative to the file itself).

    Args:
        path: a regular file of at most :data:`LIMIT` bytes.

    Returns:
        Nested dictionaries with text as keys; values are numbers, text, truth values, None, and lists of these.

    Raises:
        ConfigError: a base is missing or circular, the YAML is damaged, holds something else than config keys, or would
            run Python.
    """
    path = Path(path)
    if path.resolve() in _above:
        raise ConfigError(f"{path}: circular {BASE}.")
    if len(_above) > _DEEPEST:
        raise ConfigError(f"{path}: more than {_DEEPEST} files stand above each other as {BASE}.")
    try:
        values = _load(read_text(path, LIMIT), path)
        values = {} if values is None else values
        _check_structure(values, str(path))
    except FileNotFoundError:
        raise ConfigError(f"{_above[-1] if _above else 'config'}: the {BASE} file '{path}' does not exist.") from None
    except UnusableFile as error:
        raise ConfigError(str(error)) from error
    except ConfigError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, OverflowError) as error:
        raise ConfigError(f"{printable(path)}: {yaml_problem(error)} Fix: correct the file.") from None
    named = values.pop(BASE, None)
    bases = [named] if isinstance(named, str) else [] if named is None else named
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: {BASE}={named!r}: it must be the name of a file, or a list of such names.")
    merged: dict = {}
    files: list = []
    for base in bases:
        for file in _base_files(path.parent / Path(base).expanduser()):
            below = read_yaml(file, _above=(*_above, path.resolve()))
            files += dataset_files(below)
            _update(merged, below)
    files += dataset_files(values, path.parent)
    _update(merged, values)
    if files:
        merged["DATASETS"]["FILES"] = list(dict.fromkeys(files))
    return merged


def _load(text: str, path: Path) -> Any:
    loader = _Loader(text)
    loader.name = str(path)  # in messages and warnings
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _check_structure(values: Any, where: str) -> None:
    """Check that there are config keys with plain values, and not too many of them.

    Aliases can make a short file stand for a huge or an endless tree.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: expected config keys, found a {type(values).__name__}.")
    left, seen = [("", values, 0)], 0
    while left:
        key, value, depth = left.pop()
        seen += 1
        if depth > _DEEPEST or seen > _MOST_VALUES:
            raise ConfigError(
                f"{where}: is nested too deeply or holds too much (at most {_DEEPEST} levels and {_MOST_VALUES} "
                "values; aliases count each time). Fix: write the values themselves."
            )
        if isinstance(value, dict):
            wrong = next((name for name in value if not isinstance(name, str)), None)
            if wrong is not None:
                raise ConfigError(f"{where}: {key}{wrong!r}: a config key must be text. Fix: put it in quotes.")
            left += [(f"{key}{name}.", inner, depth + 1) for name, inner in value.items()]
        elif isinstance(value, (list, tuple)):
            left += [(key, inner, depth + 1) for inner in value]
        elif not isinstance(value, (str, int, float, bool, type(None))):
            kind = type(value).__name__
            raise ConfigError(
                f"{where}: {key.rstrip('.')}={value}: a {kind} is no config value. Fix: put it in quotes."
            )


def _base_files(path: Path) -> list[Path]:
    """Return the file itself, or the packaged files that replace it if it is a former one."""
    resolved = path.resolve()
    if path.is_file() or not resolved.is_relative_to(config_root()):
        return [path]
    return find_configs(resolved) if renamed_file(resolved.relative_to(config_root()).as_posix()) else [path]


def _update(below: dict, above: dict) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _update(below[key], value)
        else:
            below[key] = value


class _Loader(yaml.SafeLoader):
    """Safe YAML, plus the arithmetic that Mask2Former's and FC-CLIP's files hide behind a Python tag."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Warn of duplicate keys, of which the last counts, as in YAML as Detectron2 reads it."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    logger.warning(
                        "%s, line %d: '%s' is given twice; the last value counts.",
                        key.start_mark.name,
                        key.start_mark.line + 1,
                        key.value,
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _size_list(loader: yaml.SafeLoader, node: yaml.Node) -> list[int]:
    """``!!python/object/apply:eval ["[int(x * 0.1 * 640) for x in range(5, 21)]"]``, computed without ``eval``."""
    try:
        text = loader.construct_sequence(node)[0] if isinstance(node, yaml.SequenceNode) else None
        listed: Any = ast.parse(str(text), mode="eval").body
        (loop,) = listed.generators
        bounds = [ast.literal_eval(a) for a in loop.iter.args]
        if loop.ifs or loop.iter.func.id != "range" or listed.elt.func.id != "int" or max(map(abs, bounds)) > 10_000:
            raise ValueError(text)
        return [int(_product(listed.elt.args[0], loop.target.id, x)) for x in range(*bounds)]
    except (AttributeError, IndexError, KeyError, OverflowError, SyntaxError, TypeError, ValueError):
        raise ConfigError(
            f"{printable(loader.name)}: line {node.start_mark.line + 1} asks to run Python code, which is refused. "
            "Fix: write the value itself."
        ) from None


def _product(node: ast.expr, name: str, value: float) -> float:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _product(node.left, name, value) * _product(node.right, name, value)
    if isinstance(node, ast.Name) and node.id == name:
        return value
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return node.value
    raise ValueError(ast.dump(node))


_Loader.add_constructor("tag:yaml.org,2002:python/object/apply:eval", _size_list)
