"""Panoptic JSON -> Detectron2 records. Shared by all panoptic datasets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import DatasetError
from ..paths import FolderIndex, data_folder, safe_join
from .categories import PanopticCategory
from .png import MAX_SEGMENT_ID
from .schema import AnnotationEntry, CategoryEntry, ImageEntry, ImageId, read_panoptic_json

Entry = TypeVar("Entry")

__all__ = ["DatasetError", "FolderIndex", "PanopticCategory", "data_folder", "load_records", "safe_join"]


def load_records(
    panoptic_json: Path,
    panoptic_root: Path,
    find_image: Callable[[ImageEntry], Path],
    categories: Sequence[PanopticCategory],
    *,
    remedy: str,
) -> list[dict]:
    """Load the records of a panoptic dataset, in the order of the JSON's annotations.

    Reads the JSON and lists folders, but opens no image. Images and annotations are joined by image id.

    Args:
        panoptic_json: a file in COCO panoptic format.
        panoptic_root: folder of the panoptic PNGs.
        find_image: returns the file of an entry of "images"; the file need not exist.
        categories: (K,) the known classes.
        remedy: how to make the panoptic files, for messages.

    Returns:
        ``{file_name, image_id, height, width, pan_seg_file_name, segments_info}`` for each image; a segment is
        ``{id, category_id (0 to K - 1), iscrowd, isthing, area (pixels), bbox (x, y, w, h)}``.

    Raises:
        DatasetError: a file is missing, or the JSON is damaged or inconsistent.
    """
    content = read_panoptic_json(panoptic_json, remedy)
    known = _known_categories(content.categories, categories, panoptic_json)
    images = _by_image_id([(image.id, image) for image in content.images], panoptic_json)
    annotations = _by_image_id([(a.image_id, a) for a in content.annotations], panoptic_json)
    _check_pairs(images, annotations, panoptic_json, remedy)
    files = FolderIndex()
    records = []
    for image_id, annotation in annotations.items():
        image = images[image_id]
        file_name = find_image(image)
        if file_name not in files:
            raise DatasetError(f"{panoptic_json}: image id {image_id!r} has no image {file_name}; restore the image.")
        png = safe_join(panoptic_root, annotation.file_name, panoptic_json)
        if png not in files:
            raise DatasetError(f"The panoptic PNG {png} is missing; {remedy}.")
        records.append(
            {
                "file_name": str(file_name),
                "image_id": image_id,
                **_size(image, panoptic_json),
                "pan_seg_file_name": str(png),
                "segments_info": _segments(annotation, known, panoptic_json),
            }
        )
    return records


def _check_pairs(images: Mapping, annotations: Mapping, source: Path, remedy: str) -> None:
    """Check that every image has an annotation, and the reverse."""
    if not annotations:
        raise DatasetError(f"{source} annotates no image; {remedy}.")
    for some, others, text in ((images, annotations, "no annotation"), (annotations, images, "no entry in 'images'")):
        unpaired = next((i for i in some if i not in others), None)
        if unpaired is not None:
            raise DatasetError(f"{source}: image id {unpaired!r} has {text}; {remedy}.")


def _known_categories(
    listed: Sequence[CategoryEntry], categories: Sequence[PanopticCategory], source: Path
) -> Mapping[int, tuple[int, bool]]:
    """Check the JSON's list of categories, and return category id -> (contiguous id, isthing)."""
    by_id = {c.id: c for c in categories}
    for entry in listed:
        if entry.id not in by_id or by_id[entry.id].name != entry.name:
            raise DatasetError(
                f"{source}: category {entry.id} ({entry.name!r}) is unknown to this dataset; make the file with label "
                "ids (not train ids) and the dataset's own classes."
            )
        if entry.isthing is not None and bool(entry.isthing) != by_id[entry.id].isthing:
            kind = "a thing" if by_id[entry.id].isthing else "stuff"
            raise DatasetError(
                f"{source}: category {entry.id} ({entry.name!r}) has 'isthing' {int(entry.isthing)}, but is registered "
                f"as {kind}. Fix: correct the file, or register the class as the file says."
            )
    return {c.id: (k, c.isthing) for k, c in enumerate(categories)}


def _by_image_id(entries: Sequence[tuple[ImageId, Entry]], source: Path) -> dict[ImageId, Entry]:
    found: dict[ImageId, Entry] = {}
    for image_id, entry in entries:
        if image_id in found:
            raise DatasetError(f"{source}: image id {image_id!r} appears twice; make the file again.")
        if isinstance(image_id, str) and (not image_id or set(image_id) & set("/\\\0") or image_id in (".", "..")):
            raise DatasetError(f"{source}: image id {image_id!r} cannot be part of a file name; rename it.")
        found[image_id] = entry
    return found


def _size(image: ImageEntry, source: Path) -> dict[str, int]:
    """Return height and width where the entry gives them."""
    if image.height is None and image.width is None:
        return {}
    if image.height is None or image.width is None:
        missing = "height" if image.height is None else "width"
        raise DatasetError(f"{source}: image id {image.id!r}: '{missing}' is missing; make the file again.")
    return {"height": image.height, "width": image.width}


def _segments(annotation: AnnotationEntry, known: Mapping[int, tuple[int, bool]], source: Path) -> list[dict]:
    place = f"{source}: image id {annotation.image_id!r}"
    found: list[dict] = []
    ids: set[int] = set()
    for segment in annotation.segments_info:
        if segment.category_id not in known:
            raise DatasetError(
                f"{place}: segment {segment.id} has the unknown category {segment.category_id}; make the file with "
                "label ids (not train ids) and the dataset's own classes."
            )
        if segment.id in ids or not 0 < segment.id <= MAX_SEGMENT_ID:
            problem = "appears twice" if segment.id in ids else f"is not in [1, {MAX_SEGMENT_ID}]"
            raise DatasetError(f"{place}: segment id {segment.id} {problem}; make the file again.")
        ids.add(segment.id)
        contiguous, isthing = known[segment.category_id]
        found.append(
            {
                "id": segment.id,
                "category_id": contiguous,
                "iscrowd": int(segment.iscrowd),
                "isthing": isthing,
                "area": int(segment.area),
                "bbox": segment.bbox,
            }
        )
    return found
