"""A few very small images in COCO panoptic format, and the family of the example in the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from zsseg_d2.data import write_panoptic_png

CATEGORIES = [
    {"id": 1, "name": "grass", "isthing": 0},
    {"id": 4, "name": "zebra", "isthing": 1},
    {"id": 9, "name": "lion", "isthing": 1},
]
SIZE = 12, 20


def documented_example() -> str:
    """Return the code block of the documentation that registers a panoptic family."""
    docs = Path(__file__).parents[2] / "docs"
    blocks = [
        b
        for page in sorted(docs.glob("extending*.md"))
        for b in re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    ]
    (block,) = (b for b in blocks if "register_panoptic_family(" in b)
    return block


def make_zoo(root: Path, split: str = "train", images: int = 3) -> Path:
    """Write `images` images under `root` with grass, two zebras, a lion, a crowd of lions and void; return `root`."""
    rng = np.random.default_rng(len(split))
    places = root / "images" / split, root / f"panoptic_{split}"
    for place in places:
        place.mkdir(parents=True)
    annotations = []
    for k in range(images):
        ids = np.full(SIZE, 300, np.int32)  # ids of COCO follow no rule
        ids[:2] = 0
        for number, x in ((70_000, 1), (70_001, 6), (5, 11), (6, 16)):
            ids[5 : 8 + k, x : x + 3] = number
        classes = {300: 1, 70_000: 4, 70_001: 4, 5: 9, 6: 9}
        segments = [
            {"id": i, "category_id": c, "iscrowd": int(i == 6), "area": int((ids == i).sum()), "bbox": [0, 0, 1, 1]}
            for i, c in classes.items()
        ]
        annotations.append({"image_id": k + 1, "file_name": f"{k + 1}.png", "segments_info": segments})
        write_panoptic_png(places[1] / f"{k + 1}.png", ids)
        Image.fromarray(rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8)).save(places[0] / f"{k + 1}.jpg")
    entries = [{"id": k + 1, "file_name": f"{k + 1}.jpg", "height": SIZE[0], "width": SIZE[1]} for k in range(images)]
    document = {"images": entries, "annotations": annotations, "categories": CATEGORIES, "info": {"year": 2024}}
    (root / f"panoptic_{split}.json").write_text(json.dumps(document))
    return root
