"""YAML files with bases, read without running code."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError
from .packaged import config_root, find_configs
from .renamed import renamed_file

BASE = "_BASE_"


def read_yaml(path: Path, *, _above: tuple[Path, ...] = ()) -> dict:
    """Read a YAML file, merged over the files under ``_BASE_`` (relative to the file itself).

    Raises:
        ConfigError: a base is missing or circular, the YAML is damaged, or it would run Python.
    """
    path = Path(path)
    if path.resolve() in _above:
        raise ConfigError(f"{path}: circular {BASE}.")
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
        for file in _base_files(path.parent / Path(base).expanduser()):
            _update(merged, read_yaml(file, _above=(*_above, path.resolve())))
    _update(merged, values)
    return merged


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
        """Refuse duplicate keys, whose first value would silently be lost."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key '{key.value}'", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _size_list(loader: yaml.SafeLoader, node: yaml.Node) -> list[int]:
    """``!!python/object/apply:eval ["[int(x * 0.1 * 640) for x in range(5, 21)]"]``, computed without ``eval``."""
    text = loader.construct_sequence(node)[0] if isinstance(node, yaml.SequenceNode) else None
    try:
        listed: Any = ast.parse(str(text), mode="eval").body
        (loop,) = listed.generators
        bounds = [ast.literal_eval(a) for a in loop.iter.args]
        if loop.ifs or loop.iter.func.id != "range" or listed.elt.func.id != "int" or max(map(abs, bounds)) > 10_000:
            raise ValueError(text)
        return [int(_product(listed.elt.args[0], loop.target.id, x)) for x in range(*bounds)]
    except (AttributeError, IndexError, KeyError, OverflowError, SyntaxError, TypeError, ValueError):
        raise yaml.constructor.ConstructorError(
            None,
            None,
            f"it asks to run Python code ({text!r}), which is refused; write the value itself",
            node.start_mark,
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
