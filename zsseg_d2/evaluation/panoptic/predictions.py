"""Panoptic predictions in COCO's result format: one PNG per image and one ``predictions.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from detectron2.data import Metadata

from ...data.panoptic.png import segment_pixels, write_panoptic_png
from .report import write_json


class PredictionWriter:
    """Write PNGs as images arrive, and at the end the JSON that makes the folder complete."""

    def __init__(self, folder: Path, metadata: Metadata) -> None:
        """
        Args:
            folder: where to write; created if it is missing.
            metadata: of the dataset; category ids are written as the dataset's own, not as contiguous ids.
        """
        self._folder = folder
        self._category = {k: i for i, k in metadata.stuff_dataset_id_to_contiguous_id.items()}
        self.annotations: dict[int | str, dict] = {}

    def reset(self) -> None:
        """Forget all annotations."""
        self.annotations = {}

    def write(self, image_id: int | str, ids: np.ndarray, segments: Sequence[Mapping]) -> None:
        """Write the PNG of one image.

        Args:
            ids: (H, W) segment ids, 0 = void; renumbered from 1, so that any id fits into a PNG.
            segments: each with id and category_id in [0, K).
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self.annotations:  # a list of an earlier run does not describe the new images
            (self._folder / "predictions.json").unlink(missing_ok=True)
        file_name = f"{image_id:012d}.png" if isinstance(image_id, int) else f"{image_id}.png"
        pixels = segment_pixels(ids)
        listed = [s for s in segments if s["id"] in pixels]  # the format forbids segments without a pixel
        old = np.array([0, *(s["id"] for s in listed)])
        order = np.argsort(old)
        numbered = order[np.searchsorted(old[order], ids)]
        write_panoptic_png(self._folder / file_name, numbered)
        self.annotations[image_id] = {
            "image_id": image_id,
            "file_name": file_name,
            "segments_info": [
                {"id": i, "category_id": self._category[s["category_id"]], "area": pixels[s["id"]]}
                for i, s in enumerate(listed, start=1)
            ],
        }

    def finish(self, annotations: Mapping, order: Sequence | Mapping) -> None:
        """Write ``predictions.json`` with the annotations of all processes, in the order of the dataset."""
        write_json(self._folder / "predictions.json", {"annotations": [annotations[image_id] for image_id in order]})
