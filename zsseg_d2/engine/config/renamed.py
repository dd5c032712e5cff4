"""Former names of config keys and packaged config files, which still work with a warning."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

logger = logging.getLogger(__name__)

RENAMED_KEYS: dict[str, str] = {
    "ZSSEG.PICTURES": "ZSSEG.VIS_IMAGES",
}
"""Former config key -> current key; applied to config files, options, and ``config.yaml`` of earlier runs."""

_TOWERS = "r50|r101|convnext_large"
_DEFAULT_TOWER = "r50"
_BASES: dict[str, tuple[str, ...]] = {
    "_clip_r50.yaml": ("towers/r50.yaml",),
    "_clip_r101.yaml": ("towers/r101.yaml",),
    "_clip_convnext_large.yaml": ("towers/convnext_large.yaml",),
    "_clip_mini.yaml": ("_mini_scenes.yaml",),
}


def renamed_file(name: str) -> tuple[str, ...]:
    """Return the packaged files that replace a former one; empty if `name` is not a former name.

    Args:
        name: relative to the folder of packaged configs.

    Example:
        >>> renamed_file("cityscapes/zero_shot_r101.yaml")
        ('cityscapes/zero_shot.yaml', 'towers/r101.yaml')
        >>> renamed_file("cityscapes/zero_shot_r50.yaml")
        ('cityscapes/zero_shot.yaml',)
    """
    if name in _BASES:
        return _BASES[name]
    found = re.fullmatch(rf"((?:cityscapes|coco)/\w+?)_({_TOWERS})\.yaml", name)
    if found is None or found[1].endswith("/suite"):
        return ()
    method, tower = found.groups()
    return (f"{method}.yaml",) if tower == _DEFAULT_TOWER else (f"{method}.yaml", f"towers/{tower}.yaml")


def rename_options(options: list[str]) -> list[str]:
    """Return KEY VALUE pairs with current keys in place of former ones."""
    renamed = list(options)
    for k, key in enumerate(options[::2]):
        if key in RENAMED_KEYS:
            _warn(key)
            renamed[2 * k] = RENAMED_KEYS[key]
    return renamed


def rename_keys(values: Mapping, prefix: str = "") -> dict:
    """Return nested config values with current keys in place of former ones. A current key in `values` wins.

    Only the last part of a key may have changed.

    Example:
        >>> rename_keys({"ZSSEG": {"PICTURES": 3}})
        {'ZSSEG': {'VIS_IMAGES': 3}}
    """
    renamed: dict = {}
    for key, value in values.items():
        current = RENAMED_KEYS.get(f"{prefix}{key}")
        if current is not None:
            _warn(f"{prefix}{key}")
            renamed.setdefault(current.rsplit(".", 1)[-1], value)
        else:
            renamed[key] = rename_keys(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
    return renamed


def _warn(key: str) -> None:
    logger.warning("The config key %s is now %s.", key, RENAMED_KEYS[key])
