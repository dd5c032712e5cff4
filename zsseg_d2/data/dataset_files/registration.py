"""Registration of dataset files, those of the user and those of the package."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import DatasetError
from ..families import register_panoptic_family, unregister_panoptic_family
from ..panoptic.family import PANOPTIC_FAMILIES, PanopticFamily
from .family import family_from_file

_REGISTERED: dict[str, Path] = {}
"""Prefix of a family -> the file that it comes from."""


def register_dataset_file(path: str | os.PathLike) -> PanopticFamily:
    """Register all datasets of a YAML file (``{name}_{split}``, ``{name}_train_{configuration}``, …).

    Registering a file again is allowed; if it has changed, what it says now counts.

    Args:
        path: the YAML file; ``datasets/README.md`` describes the format.

    Raises:
        DatasetError: the file or one that it names is wrong, or the name is taken; nothing is registered then.
    """
    source = Path(os.path.realpath(os.path.expanduser(path)))  # which, unlike pathlib, has no errors of its own
    family = family_from_file(source)
    known, origin = PANOPTIC_FAMILIES.get(family.prefix), _REGISTERED.get(family.prefix)
    if known is not None and known != family:
        if origin != source:
            other = f" by {origin}" if origin else ""
            raise DatasetError(
                f"{source}: a dataset '{family.prefix}' is registered already{other}. Fix: choose another 'name'."
            )
        unregister_panoptic_family(family.prefix)
        try:
            register_panoptic_family(family)
        except BaseException:
            register_panoptic_family(known)
            raise
    else:
        register_panoptic_family(family)
    _REGISTERED[family.prefix] = source
    return family
