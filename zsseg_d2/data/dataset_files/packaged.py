"""Datasets that the package describes, by the same YAML files as those of users."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ..panoptic.family import PanopticFamily
from .family import family_from_file

_FOLDER = Path(str(resources.files("zsseg_d2"))) / "datasets"


def packaged_family(name: str) -> PanopticFamily:
    """Return the family of a packaged dataset file, such as ``"coco_panoptic"``."""
    return family_from_file(_FOLDER / f"{name}.yaml")
