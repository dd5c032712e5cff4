"""COCO panoptic JSON -> Detectron2 records. What Cityscapes, MiniCity, MiniWorld and COCO share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from ...vocabulary import Vocabulary
from .png import MAX_SEGMENT_ID, DatasetError, check_segments, open_image, read_panoptic_png

__all__ = [
    "DatasetError",
    "FolderIndex",
    "PanopticCategory",
    "check_segments",
    "data_folder",
    "safe_join",
    "load_records",
    "open_image",
    "panoptic_metadata",
    "read_panoptic_json",
    "read_panoptic_png",
]


@dataclass(frozen=True)
class PanopticCategory:
    """A class as the files of a data set know it; its place in the list of categories is its contiguous id."""

    id: int
    name: str
    isthing: bool
    color: tuple[int, int, int]


def data_folder(name: str = "") -> Path:
    """The folder `name` under ``$DETECTRON2_DATASETS``, or under ``datasets`` in the working directory."""
    return Path(os.environ.get("DETECTRON2_DATASETS") or "datasets").expanduser() / name


def panoptic_metadata(
    categories: Sequence[PanopticCategory], vocabulary: Vocabulary, deleted: Sequence[int] = ()
) -> dict:
    """What Detectron2's ``MetadataCatalog`` holds about a panoptic data set of K classes.

    Args:
        categories: (K,) in the order of contiguous ids.
        vocabulary: K classes in the same order.
        deleted: category ids (the data set's own) whose segments are left out of the records.
    Raises:
        DatasetError: vocabulary and categories differ in length.
    """
    if len(vocabulary) != len(categories):
        raise DatasetError(f"The vocabulary has {len(vocabulary)} classes, but the data set has {len(categories)}.")
    contiguous = {c.id: k for k, c in enumerate(categories)}
    names = list(vocabulary.names)
    colors = [c.color for c in categories]
    return {
        "vocabulary": vocabulary,
        # Detectron2's drawing and FC-CLIP's inference look up any class in either list, so both hold all K.
        "thing_classes": names,
        "stuff_classes": names,
        "thing_colors": colors,
        "stuff_colors": colors,
        "thing_dataset_id_to_contiguous_id": {c.id: k for k, c in enumerate(categories) if c.isthing},
        "stuff_dataset_id_to_contiguous_id": contiguous,
        "deleted_label_ids": tuple(deleted),
        "deleted_contiguous_ids": tuple(sorted(contiguous[i] for i in deleted)),
        "evaluator_type": "zsseg_panoptic",
        "ignore_label": 255,
        "label_divisor": 1000,
    }


def safe_join(root: Path, name: object, source: Path) -> Path:
    """`root` / `name`, where `name` comes from the data file `source`.

    Raises:
        DatasetError: `name` is no file name, or leads out of `root`.
    """
    if isinstance(name, str) and name and "\0" not in name:
        parts = (*PurePosixPath(name).parts, *PureWindowsPath(name).parts)
        if ".." not in parts and not PurePosixPath(name).is_absolute() and not PureWindowsPath(name).anchor:
            return root / name
    raise DatasetError(f"{source}: the file name {name!r} leads out of {root}; names in the JSON must be relative.")


class FolderIndex:
    """Answers "is there such a file?" with one listing a folder instead of one system call a file."""

    def __init__(self) -> None:
        self._listings: dict[str, frozenset[str]] = {}

    def __contains__(self, path: Path) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._listings:
            try:
                self._listings[folder] = frozenset(os.listdir(folder or "."))
            except OSError:
                self._listings[folder] = frozenset()
        return name in self._listings[folder]


def read_panoptic_json(path: Path, remedy: str) -> dict:
    """The parsed JSON, with its three lists present.

    Args:
        path: the panoptic JSON.
        remedy: how to make the file, for the message when it is missing or damaged.
    Raises:
        DatasetError: missing, not JSON, or not of the COCO panoptic format.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DatasetError(f"The panoptic annotations {path} are missing; {remedy}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not valid JSON ({error}); {remedy}.") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DatasetError(f"{path} is not in COCO panoptic format: it has no list '{key}'; {remedy}.")
    return content


def load_records(
    panoptic_json: Path,
    panoptic_root: Path,
    find_image: Callable[[dict], Path],
    categories: Sequence[PanopticCategory],
    *,
    remedy: str,
) -> list[dict]:
    """Records of a data set in COCO panoptic format, in the order of the JSON's annotations.

    Reads the JSON and lists folders; opens no picture. Images and annotations are joined by image id.

    Args:
        panoptic_json: with lists "images", "annotations" and "categories".
        panoptic_root: folder of the panoptic PNGs.
        find_image: the file of an entry of "images"; it need not exist.
        categories: (K,) the known classes.
        remedy: how to make the panoptic files, for messages.
    Returns:
        ``{file_name, image_id, height, width, pan_seg_file_name, segments_info}`` an image; a segment is
        ``{id, category_id (0 .. K-1), iscrowd, isthing, area (pixels), bbox (x, y, w, h)}``.
    Raises:
        DatasetError: see the messages.
    """
    content = read_panoptic_json(panoptic_json, remedy)
    known = _known_categories(content["categories"], categories, panoptic_json)
    images = _by_image_id(content["images"], "id", panoptic_json)
    annotations = _by_image_id(content["annotations"], "image_id", panoptic_json)
    if not annotations:
        raise DatasetError(f"{panoptic_json} annotates no image; {remedy}.")
    for some, others, text in ((images, annotations, "no annotation"), (annotations, images, "no entry in 'images'")):
        lonely = next((i for i in some if i not in others), None)
        if lonely is not None:
            raise DatasetError(f"{panoptic_json}: image id {lonely!r} has {text}; {remedy}.")
    files = FolderIndex()
    records = []
    for image_id, annotation in annotations.items():
        image = images[image_id]
        file_name = find_image(image)
        if file_name not in files:
            raise DatasetError(f"{panoptic_json}: image id {image_id!r} has no image {file_name}; restore the image.")
        png = safe_join(panoptic_root, _get(annotation, "file_name", str, panoptic_json, image_id), panoptic_json)
        if png not in files:
            raise DatasetError(f"The panoptic PNG {png} is missing; {remedy}.")
        record = {"file_name": str(file_name), "image_id": image_id}
        if "height" in image or "width" in image:
            record["height"] = _get(image, "height", int, panoptic_json, image_id)
            record["width"] = _get(image, "width", int, panoptic_json, image_id)
        record["pan_seg_file_name"] = str(png)
        segments = _get(annotation, "segments_info", list, panoptic_json, image_id)
        record["segments_info"] = _segments(segments, known, panoptic_json, image_id)
        records.append(record)
    return records


def _known_categories(
    listed: list, categories: Sequence[PanopticCategory], source: Path
) -> Mapping[int, tuple[int, bool]]:
    """Category id -> (contiguous id, isthing), after the JSON's own list agrees with `categories`."""
    by_id = {c.id: c for c in categories}
    for entry in listed:
        number, name = (entry.get("id"), entry.get("name")) if isinstance(entry, dict) else (None, None)
        if number not in by_id or by_id[number].name != name:
            raise DatasetError(
                f"{source}: category {number!r} ({name!r}) is unknown to this data set; make the file with label ids "
                "(not train ids) and the data set's own classes."
            )
    return {c.id: (k, c.isthing) for k, c in enumerate(categories)}


def _by_image_id(entries: list, key: str, source: Path) -> dict:
    found: dict = {}
    for position, entry in enumerate(entries):
        image_id = entry.get(key) if isinstance(entry, dict) else None
        if isinstance(image_id, bool) or not isinstance(image_id, (int, str)):
            raise DatasetError(f"{source}: entry {position} has no '{key}' (a number or a string); make it again.")
        if image_id in found:
            raise DatasetError(f"{source}: image id {image_id!r} appears twice; make the file again.")
        if isinstance(image_id, str) and (not image_id or set(image_id) & set("/\\\0") or image_id in (".", "..")):
            raise DatasetError(f"{source}: image id {image_id!r} cannot be part of a file name; rename it.")
        found[image_id] = entry
    return found


def _get(entry: object, key: str, kind: type | tuple[type, ...], source: Path, image_id: object):
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind):
        raise DatasetError(
            f"{source}: image id {image_id!r}: '{key}' is missing or of the wrong type ({value!r}); "
            "make the file again."
        )
    return value


def _segments(segments: Iterable, known: Mapping[int, tuple[int, bool]], source: Path, image_id: object) -> list[dict]:
    found, ids = [], set()
    for segment in segments:
        number = _get(segment, "id", int, source, image_id)
        category = _get(segment, "category_id", int, source, image_id)
        bbox = _get(segment, "bbox", list, source, image_id)
        if category not in known:
            raise DatasetError(
                f"{source}: image id {image_id!r}: segment {number} has the unknown category {category}; make the file "
                "with label ids (not train ids) and the data set's own classes."
            )
        if number in ids or not 0 < number <= MAX_SEGMENT_ID:
            problem = "appears twice" if number in ids else f"is not in 1 .. {MAX_SEGMENT_ID}"
            raise DatasetError(f"{source}: image id {image_id!r}: segment id {number} {problem}; make the file again.")
        ids.add(number)
        contiguous, isthing = known[category]
        found.append(
            {
                "id": number,
                "category_id": contiguous,
                "iscrowd": int(_get(segment, "iscrowd", int, source, image_id)),
                "isthing": isthing,
                "area": int(_get(segment, "area", (int, float), source, image_id)),
                "bbox": bbox,
            }
        )
    return found
