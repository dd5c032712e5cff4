"""The result of a prediction: segments with names and scores, drawn, in COCO's format, and as files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from ...auto_vocabulary.alignment import resize_labels
from ...auto_vocabulary.finder import ImageWords
from ...data.images.writing import encode_image
from ...data.panoptic.categories import PanopticCategory, distinct_colors
from ...data.panoptic.png import write_panoptic_png, write_png
from ...data.panoptic.split_writer import write_json
from ...evaluation.panoptic.overlay import NamedSegment, draw_overlay
from ...files import atomic_path

Box = tuple[int, int, int, int]
"""x, y, width and height in pixels."""

_JPEG_QUALITY = 92


@dataclass(frozen=True)
class Segment:
    """A segment of the panoptic map.

    Attributes:
        id: its number in the map.
        label: name of its class.
        category: position of its class in the words.
        score: class score in [0, 1].
        thing: whether it is one instance; False: all of a stuff class.
        area: pixels.
        box: the tight box.
    """

    id: int
    label: str
    category: int
    score: float
    thing: bool
    area: int
    box: Box
    _map: np.ndarray = field(repr=False, compare=False)

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool."""
        return self._map == self.id


@dataclass(frozen=True)
class Instance:
    """An instance of a thing class, which may overlap others.

    Attributes:
        label: name of its class.
        category: position of its class in the words.
        score: class score times mean probability of the mask, in [0, 1].
        box: the tight box.
        rle: the mask as COCO's run-length encoding: "size" and "counts".
    """

    label: str
    category: int
    score: float
    box: Box
    rle: Mapping[str, Any] = field(repr=False)

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool."""
        return coco_mask.decode(dict(self.rle)).astype(bool)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in an image of H x W pixels. A notebook shows it as its overlay.

    Attributes:
        name: of the image, without folder and ending.
        image: (H, W, 3) uint8 RGB, as it is shown.
        panoptic: (H, W) int32 segment ids; 0 where nothing was found.
        segments: of the map, the largest first.
        categories: (K,) the words, with ids and colors.
        semantic: (H, W) int32 position of the likeliest word at each pixel; None unless asked for.
        instances: best first; None unless asked for.
        found: the words that were found in the image, with their origin; None if they were given.
    """

    name: str
    image: np.ndarray
    panoptic: np.ndarray
    segments: tuple[Segment, ...]
    categories: tuple[PanopticCategory, ...]
    semantic: np.ndarray | None = None
    instances: tuple[Instance, ...] | None = None
    found: ImageWords | None = None

    def __repr__(self) -> str:
        height, width = self.panoptic.shape
        found = ", ".join(f"{s.label} {s.score:.2f}" for s in self.segments) or "nothing"
        return f"Prediction({self.name!r}, {width}x{height}: {found})"

    def overlay(self) -> Image.Image:
        """Draw the segments with names and scores over the image, at its own size, and a legend below."""
        shown = [NamedSegment(s.id, s.label, self.categories[s.category].color, s.score, s.area) for s in self.segments]
        return draw_overlay(self.image, self.panoptic, shown)

    def clusters_overlay(self) -> Image.Image:
        """Draw the clusters in which the words were found, each with its first caption and its agreement.

        Raises:
            ValueError: the words were given.
        """
        if self.found is None:
            raise ValueError("The words of this prediction were given, so it has no clusters.")
        clusters = self.found.clusters
        labels = resize_labels(clusters.labels, self.panoptic.shape)
        shown = [
            NamedSegment(k + 1, f"{k + 1} {texts[0]}", color, clusters.agreement[k], int((labels == k).sum()))
            for k, (texts, color) in enumerate(zip(self.found.captions, distinct_colors(len(clusters))))
        ]
        return draw_overlay(self.image, labels + 1, shown)

    def to_coco(self, *, rle: bool = False) -> dict[str, Any]:
        """Return the image, its annotation and the categories in COCO panoptic format, as JSON has it.

        Args:
            rle: add the mask of each segment as run-length encoding, for those who read no PNG.
        """
        return coco_panoptic([self.coco_image()], [self.coco_annotation(rle=rle)], self.categories)

    def coco_image(self, image_id: str | None = None, file_name: str | None = None) -> dict[str, Any]:
        """Return the entry of "images"; by default the name is the id."""
        height, width = self.panoptic.shape
        image_id = self.name if image_id is None else image_id
        return {"id": image_id, "file_name": file_name or self.name, "height": height, "width": width}

    def coco_annotation(self, image_id: str | None = None, *, rle: bool = False) -> dict[str, Any]:
        """Return the entry of "annotations"; see :meth:`to_coco`."""
        image_id = self.name if image_id is None else image_id
        segments = []
        for s in self.segments:
            entry = {
                "id": s.id,
                "category_id": self.categories[s.category].id,
                "area": s.area,
                "bbox": list(s.box),
                "iscrowd": 0,
                "score": round(s.score, 6),
            }
            segments.append({**entry, "segmentation": encoded(s.mask)} if rle else entry)
        return {"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": segments}

    def coco_instances(self, image_id: str | None = None) -> list[dict[str, Any]]:
        """Return the instances as COCO's results of instance segmentation."""
        return [
            {
                "image_id": self.name if image_id is None else image_id,
                "category_id": self.categories[i.category].id,
                "segmentation": dict(i.rle),
                "bbox": list(i.box),
                "score": round(i.score, 6),
            }
            for i in self.instances or ()
        ]

    def save(self, folder: str | os.PathLike) -> None:
        """Write ``NAME.json`` (see :meth:`to_coco`) and the files of :meth:`save_images`.

        Args:
            folder: created if it is missing.
        """
        self.save_images(folder, self.name)
        write_json(Path(folder) / f"{self.name}.json", self.to_coco())

    def save_images(
        self, folder: str | os.PathLike, name: str, *, overlay: bool = True, clusters: bool = False
    ) -> None:
        """Write ``overlay/NAME.jpg`` and ``panoptic/NAME.png``, and ``semantic/NAME.png`` if it was asked for.

        Semantic PNGs hold category ids, with 8 or 16 bits.

        Args:
            folder: created if it is missing.
            name: may have folders in it.
            overlay: write the overlay too.
            clusters: also write ``clusters/NAME.png``, see :meth:`clusters_overlay`.
        """
        folder = Path(folder)
        kinds = {"overlay": overlay, "panoptic": True, "semantic": self.semantic is not None, "clusters": clusters}
        for kind in (kind for kind, wanted in kinds.items() if wanted):
            (folder / kind / name).parent.mkdir(parents=True, exist_ok=True)
        if overlay:
            with atomic_path(folder / "overlay" / f"{name}.jpg") as temporary:
                temporary.write_bytes(encode_image(self.overlay(), "JPEG", quality=_JPEG_QUALITY))
        if clusters:
            with atomic_path(folder / "clusters" / f"{name}.png") as temporary:
                temporary.write_bytes(encode_image(self.clusters_overlay(), "PNG"))
        write_panoptic_png(folder / "panoptic" / f"{name}.png", self.panoptic)
        if self.semantic is not None:
            ids = np.array([category.id for category in self.categories])
            wide = np.uint8 if ids.max(initial=0) < 256 else np.uint16
            pixels = np.append(ids, 0).astype(wide)[self.semantic]  # -1, where no word was found, is 0
            write_png(folder / "semantic" / f"{name}.png", pixels)

    @cached_property
    def _png(self) -> bytes:
        return encode_image(self.overlay(), "PNG")

    def _repr_png_(self) -> bytes:
        return self._png


def coco_panoptic(images: list, annotations: list, categories: tuple[PanopticCategory, ...]) -> dict[str, Any]:
    """Put entries together as a file in COCO panoptic format."""
    kinds = ("stuff", "thing")
    listed = [
        {
            "id": c.id,
            "name": c.name,
            "supercategory": kinds[c.isthing],
            "isthing": int(c.isthing),
            "color": list(c.color),
        }
        for c in categories
    ]
    return {"images": images, "annotations": annotations, "categories": listed}


def renumbered(
    annotations: list[dict[str, Any]], categories: tuple[PanopticCategory, ...]
) -> tuple[list[dict[str, Any]], tuple[PanopticCategory, ...]]:
    """Let category ids count from 1 in the order of the categories, in these and in annotations.

    Args:
        annotations: entries of "annotations" in COCO panoptic format; they stay as they are.
        categories: (K,) of all segments.
    """
    numbers = {category.id: k for k, category in enumerate(categories, start=1)}
    changed = [
        {**a, "segments_info": [{**s, "category_id": numbers[s["category_id"]]} for s in a["segments_info"]]}
        for a in annotations
    ]
    return changed, tuple(replace(category, id=numbers[category.id]) for category in categories)


def encoded(mask: np.ndarray) -> dict[str, Any]:
    """Encode an (H, W) bool mask as COCO's run-length encoding, with text in place of bytes."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
