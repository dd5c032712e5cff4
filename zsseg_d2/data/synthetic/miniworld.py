"""Writing of MiniWorld, the pre-training world, in COCO's panoptic format."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from ..errors import DatasetError
from ..images.writing import encode_image
from . import workers
from .folders import parameters_of, provide
from .scene import Scene, render_scene
from .worlds import PRETRAINING

DEFAULTS = {"train": 1000, "val": 100, "height": 256, "width": 512, "seed": 0}
_SEEDS = {"train": 0, "val": 500_000}  # first scene of each split
THING_FACTOR = 1000  # segment id of the k-th thing of a class: 1000 * category id + k


@dataclass(frozen=True)
class _Frame:
    root: str
    split: str
    number: int
    seed: int
    height: int
    width: int


def segment_ids(scene: Scene) -> tuple[np.ndarray, list[dict]]:
    """Return panoptic segments of a scene of `PRETRAINING`.

    Returns:
        (H, W) int32 segment ids, 0 = void (kinds without a category, such as poles and riders); and
        `segments_info` as in COCO: id, category_id, area, bbox (x, y, width, height), iscrowd.
    """
    table = np.zeros(len(scene.objects) + 1, dtype=np.int32)
    seen: Counter[int] = Counter()
    for o in scene.objects:
        category = PRETRAINING.category(o.kind)
        if category is None:
            continue
        if category.isthing and not o.crowd:
            seen[category.id] += 1
            table[o.index] = THING_FACTOR * category.id + seen[category.id]
        else:  # stuff, and crowds of one class, are one segment
            table[o.index] = category.id
    segments = table[scene.index]
    crowds = {c.id for o in scene.objects if o.crowd and (c := PRETRAINING.category(o.kind)) is not None}
    values, compact = np.unique(segments, return_inverse=True)
    compact = compact.reshape(segments.shape)
    areas = np.bincount(compact.ravel())
    info = []
    boxes = ndimage.find_objects(compact + 1)
    for value, area, (rows, columns) in zip(values.tolist(), areas.tolist(), boxes):
        if value == 0:
            continue
        category_id = value // THING_FACTOR if value >= THING_FACTOR else value
        box = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
        info.append(
            {
                "id": value,
                "category_id": category_id,
                "area": area,
                "bbox": box,
                "iscrowd": int(value < THING_FACTOR and category_id in crowds),
            }
        )
    return segments, info


def _write_frame(frame: _Frame) -> dict:
    """Render and write one image, and return its annotation."""
    scene = render_scene(PRETRAINING, frame.seed, frame.height, frame.width)
    segments, info = segment_ids(scene)
    stem, root = f"{frame.number:012d}", Path(frame.root)
    encoded = encode_image(Image.fromarray(scene.image), "JPEG", quality=95)
    (root / "images" / frame.split / f"{stem}.jpg").write_bytes(encoded)
    coded = np.stack([segments % 256, segments // 256 % 256, segments // 65536], -1).astype(np.uint8)
    Image.fromarray(coded).save(root / f"panoptic_{frame.split}" / f"{stem}.png", compress_level=1)
    return {"image_id": frame.number, "file_name": f"{stem}.png", "segments_info": info}


def categories() -> list[dict]:
    """Return COCO's `categories` of this world, each with a list of synonyms."""
    return [
        {"id": c.id, "name": c.name, "isthing": int(c.isthing), "synonyms": list(c.synonyms)}
        for c in PRETRAINING.categories
    ]


def _build(root: Path, parameters: dict, num_workers: int | None) -> dict:
    names = {c.id: c.name for c in PRETRAINING.categories}
    summary = {}
    for split, first in _SEEDS.items():
        count, height, width = parameters[split], parameters["height"], parameters["width"]
        if not count:
            continue
        (root / "images" / split).mkdir(parents=True)
        (root / f"panoptic_{split}").mkdir()
        first += parameters["seed"] * 1_000_000
        frames = [_Frame(str(root), split, k, first + k, height, width) for k in range(count)]
        annotations = workers.run(_write_frame, frames, f"MiniWorld {split}", num_workers)
        images = [{"id": k, "file_name": f"{k:012d}.jpg", "height": height, "width": width} for k in range(count)]
        document = {"images": images, "annotations": annotations, "categories": categories()}
        (root / f"panoptic_{split}.json").write_text(json.dumps(document))
        in_images, segments, pixels = Counter[str](), Counter[str](), Counter[str]()
        for annotation in annotations:
            in_images.update({names[s["category_id"]] for s in annotation["segments_info"]})
            for segment in annotation["segments_info"]:
                segments[names[segment["category_id"]]] += 1
                pixels[names[segment["category_id"]]] += segment["area"]
        summary[split] = {
            "images": count,
            "classes": {
                n: {"images": in_images[n], "segments": segments[n], "pixels": pixels[n]} for n in names.values()
            },
        }
    return {"world": PRETRAINING.name, "splits": summary}


def write_miniworld(
    root: str | Path,
    *,
    train: int = DEFAULTS["train"],
    val: int = DEFAULTS["val"],
    height: int = DEFAULTS["height"],
    width: int = DEFAULTS["width"],
    seed: int = DEFAULTS["seed"],
    num_workers: int | None = None,
    reuse: bool = False,
) -> Path:
    """Write `root/miniworld` in COCO's panoptic format, and return that folder.

    Args:
        train, val: number of images.
        height, width: their size in pixels.
        num_workers: processes; None: one per usable core.
        reuse: keep the folder if it has these parameters, and make only files again that it lacks.
    Raises:
        FileExistsError: the folder holds something that this package did not make, and would have to be replaced.
        DatasetError: there is no image to make, or more than the seeds reserved for a split.
    """
    if min(train, val) < 0 or train + val == 0 or max(train, val) > _SEEDS["val"]:
        raise DatasetError(f"numbers of images out of range: train={train}, val={val}")
    parameters = {"train": train, "val": val, "height": height, "width": width, "seed": seed}
    return provide(Path(root) / "miniworld", parameters, lambda p: _build(p, parameters, num_workers), reuse=reuse)


def ensure_miniworld(root: str | Path) -> Path:
    """Return `root/miniworld`, and make what is missing of it.

    A folder that is there keeps its parameters, and all other files in it; a new one gets the default parameters.

    Raises:
        FileExistsError, UnusableFile: the folder holds something that this package did not make.
    """
    return write_miniworld(root, **parameters_of(Path(root) / "miniworld", DEFAULTS), reuse=True)
