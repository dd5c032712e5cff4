"""References between config values: ``${ZSSEG.TOWER.NAME}`` stands for the value of that key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from detectron2.config import CfgNode

from ..errors import ConfigError, did_you_mean

_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def leaves(cfg: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield every key, with dots, and its value."""
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def resolve_references(cfg: CfgNode) -> None:
    """Replace every ``${KEY}`` in the strings of a config by the value of that key, in place.

    It runs after all files and options have been merged, so a tower given last decides the names that earlier files
    build from it.

    Raises:
        ConfigError: a reference to an unknown key, or to a value that holds a reference itself.
    """
    known = dict(leaves(cfg))
    for key, value in known.items():
        if isinstance(value, str) and "${" in value:
            parent, _, name = key.rpartition(".")
            _node(cfg, parent)[name] = _REFERENCE.sub(partial(_value, key=key, known=known), value)


def _value(found: re.Match, *, key: str, known: dict[str, object]) -> str:
    name = found[1]
    if name not in known:
        raise ConfigError(f"{key}: unknown config key in '${{{name}}}'.{did_you_mean(name, known)}")
    value = str(known[name])
    if "${" in value:
        raise ConfigError(f"{key}: '${{{name}}}' refers to {name}={value}, which is a reference itself.")
    return value


def _node(cfg: CfgNode, path: str) -> CfgNode:
    for part in path.split(".") if path else ():
        cfg = cfg[part]
    return cfg
