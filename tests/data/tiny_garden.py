"""A COCO-panoptic dataset of seven classes in a few small images, and the YAML file that describes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from zsseg_d2.data import write_panoptic_png

CLASSES = {
    # id: name, thing, words
    3: ("lawn", False, "terrain, lawn"),
    5: ("sky", False, "sky"),
    6: ("fence", False, "fence"),
    11: ("visitor", True, "person, visitor"),
    12: ("cart", True, "car, cart"),
    20: ("coach", True, "bus, coach"),
    21: ("lorry", True, "truck, lorry"),
}
YAML = """\
name: garden
images: images/{split}
panoptic: panoptic_{split}
annotations: panoptic_{split}.json
splits: [train, val]
vocabulary:
  lorry: truck, lorry
  lawn: [terrain, lawn]
  sky: sky
  fence: fence
  visitor: person, visitor
  cart: car, cart
  coach: bus, coach
delete:
  no_vehicles: [cart, coach, lorry]
out: no_vehicles
"""
HEIGHT, WIDTH = 64, 96


def make_garden(root: Path, images: int = 4, *, isthing: bool = True) -> Path:
    """Write the dataset and its YAML file, and return the YAML file."""
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        (root / f"panoptic_{split}").mkdir()
        listed, annotations = [], []
        for k in range(images):
            ids, categories = _draw(k)
            colors = np.random.default_rng(k).integers(0, 255, (256, 3)).astype(np.uint8)
            name = f"{split}_{k}.png"
            Image.fromarray(colors[ids]).save(root / "images" / split / name)
            write_panoptic_png(root / f"panoptic_{split}" / name, ids)
            listed.append({"id": k, "file_name": name, "height": HEIGHT, "width": WIDTH})
            segments = [
                {"id": i, "category_id": c, "iscrowd": 0, "area": int((ids == i).sum()), "bbox": [0, 0, 1, 1]}
                for i, c in categories.items()
            ]
            annotations.append({"image_id": k, "file_name": name, "segments_info": segments})
        known = [
            {"id": i, "name": name, **({"isthing": int(thing)} if isthing else {})}
            for i, (name, thing, _) in reversed(CLASSES.items())
        ]
        document = {"images": listed, "annotations": annotations, "categories": known}
        (root / f"panoptic_{split}.json").write_text(json.dumps(document))
    path = root / "garden.yaml"
    path.write_text(YAML)
    return path


def _draw(k: int) -> tuple[np.ndarray, dict[int, int]]:
    """(H, W) ids of a scene with all seven classes, two visitors and a void stripe; id -> category id."""
    ids = np.full((HEIGHT, WIDTH), 30)
    ids[:24] = 50
    ids[24:30] = 60
    categories = {30: 3, 50: 5, 60: 6}
    for slot, category in enumerate((11, 11, 12, 20, 21)):
        left = 2 + 18 * slot
        ids[20 + k : 50, left : left + 14] = 100 + slot
        categories[100 + slot] = category
    ids[:, -2:] = 0
    return ids, categories
