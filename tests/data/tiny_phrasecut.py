"""A folder in PhraseCut's layout, small enough to be written for each test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

H, W = 20, 30
SQUARE = [[[[2, 2], [6, 2], [6, 6], [2, 6]]]]  # one instance, 25 pixels


def task(image_id: int = 1, ann_id: int = 10, phrase: str = "red car", polygons: list = SQUARE, **changes) -> dict:
    """An entry of refer_*.json."""
    return {
        "task_id": f"{image_id}__{ann_id}",
        "image_id": image_id,
        "ann_ids": [ann_id],
        "instance_boxes": [[2, 2, 5, 5]],
        "Polygons": polygons,
        "phrase": phrase,
        "phrase_structure": {
            "name": "car",
            "attributes": ["red"],
            "relation_ids": [7],
            "relation_descriptions": [["on", "road"]],
            "type": "name",
        },
        **changes,
    }


def make_tiny_phrasecut(root: Path, skip: list | None = None, sizes: dict | None = None, **splits: list[dict]) -> Path:
    """Writes tasks by split, their images and the image table; returns the folder.

    Args:
        skip: skip.json.
        sizes: image id -> (height, width), other images are `H` x `W`.
        splits: tasks; "test" images go by default to the split that names them first, miniv before val.
    """
    folder = root / "VGPhraseCut_v0"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    split_of: dict[int, str] = {}
    for split in ("miniv", "val", "test", "train"):
        if split in splits:
            (folder / f"refer_{split}.json").write_text(json.dumps(splits[split]))
        for entry in splits.get(split, []):
            split_of.setdefault(entry.get("image_id"), split)
    table = []
    for image_id, split in split_of.items():
        height, width = (sizes or {}).get(image_id, (H, W))
        pixels = np.random.default_rng(image_id).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{image_id}.jpg")
        table.append(
            {
                "image_id": image_id,
                "coco_id": 9 if image_id % 2 else None,
                "flickr_id": None,
                "url": "",
                "height": height,
                "width": width,
                "split": split,
            }
        )
    (folder / "image_data_split.json").write_text(json.dumps(table))
    counts = {"cat": [["car", 3], ["bus", 1]], "att": [["red", 2]], "rel": [["on", 1]]}
    (folder / "name_att_rel_count.json").write_text(json.dumps(counts))
    if skip is not None:
        (folder / "skip.json").write_text(json.dumps(skip))
    return folder
