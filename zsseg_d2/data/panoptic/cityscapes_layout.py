"""Cityscapes' folders.

Under the root: ``leftImg8bit/{split}/{city}/{image_id}_leftImg8bit.png``, ``gtFine/cityscapes_panoptic_{split}.json``
and ``gtFine/cityscapes_panoptic_{split}/*.png`` (made by ``cityscapesscripts.preparation.createPanopticImgs``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DatasetError
from .categories import PanopticCategory
from .records import load_records
from .registration import PanopticPaths

IMAGE_SUFFIX = "_leftImg8bit.png"


@dataclass(frozen=True)
class CityscapesLayout:
    """Cityscapes' folders; implements :class:`zsseg_d2.data.PanopticLayout`."""

    def paths(self, root: Path, split: str) -> PanopticPaths:
        """Return where the files of `split` are under `root`."""
        panoptic = root / "gtFine" / f"cityscapes_panoptic_{split}"
        return PanopticPaths(root / "leftImg8bit" / split, panoptic, panoptic.with_name(f"{panoptic.name}.json"))

    def load(self, root: Path, split: str, categories: Sequence[PanopticCategory]) -> list[dict]:
        """Return the complete records of `split`.

        Raises:
            DatasetError: a file or folder is missing, or the JSON is wrong.
        """
        image_root, panoptic_root, panoptic_json = self.paths(root, split)
        if not image_root.is_dir():
            raise DatasetError(
                f"There is no folder {image_root}; put the dataset there, or set DETECTRON2_DATASETS to the folder "
                f"that holds '{root.name}' (see datasets/README.md)."
            )
        images = {path.name.removesuffix(IMAGE_SUFFIX): path for path in sorted(image_root.glob(f"*/*{IMAGE_SUFFIX}"))}
        return load_records(
            panoptic_json,
            panoptic_root,
            lambda image: images.get(str(image.id), image_root / "*" / f"{image.id}{IMAGE_SUFFIX}"),
            categories,
            remedy=f"make them with `CITYSCAPES_DATASET={root} python -m "
            f"cityscapesscripts.preparation.createPanopticImgs --set-names {split}` (or `csCreatePanopticImgs`)",
        )
