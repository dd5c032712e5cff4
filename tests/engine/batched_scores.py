"""How far scores in a batch are from those of images alone: ``python -m tests.engine.batched_scores [KEY VALUE …]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from zsseg_d2.engine.prediction.predictor import Predictor

WORDS = "road, sidewalk, building, sky, tree, car|cars, person"
ROOT = Path(__file__).resolve().parents[2]


class Difference(NamedTuple):
    """The largest differences of scores, and the number of panoptic maps that differ."""

    segments: float
    instances: float
    maps: int


def pictures(height: int = 180, width: int = 300) -> list[Image.Image]:
    """Eight images of one size: a drawn street, mirrored, blurred and noisy, noise, and a ramp."""
    street = Image.open(ROOT / "docs" / "street.png").convert("RGB").resize((width, height))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8))
    ramp = np.linspace(0, 255, width).astype(np.uint8)[None, :, None].repeat(height, 0).repeat(3, 2)
    mirrored = [street.transpose(Image.Transpose.FLIP_LEFT_RIGHT), street.transpose(Image.Transpose.FLIP_TOP_BOTTOM)]
    blurred = [street.filter(ImageFilter.GaussianBlur(3)), noise.filter(ImageFilter.GaussianBlur(5))]
    return [street, *mirrored, *blurred, noise, Image.fromarray(ramp), Image.blend(street, noise, 0.4)]


def differences(images: Sequence[Image.Image], sizes: Sequence[int], options: Sequence[str] = ()) -> list[Difference]:
    """Predict images alone and in batches of each of `sizes`, and compare scores and maps."""
    settings = ["MODEL.DEVICE", "cpu", "ZSSEG.TEXT_CACHE", "", *options]
    predictor = Predictor(words=WORDS, options=settings, instances=True)
    items = [predictor.prepare(image) for image in images]
    alone, found = [predictor.predict(item) for item in items], []
    for size in sizes:
        batches = [items[k : k + size] for k in range(0, len(items), size)]
        together = [one for batch in batches for one in predictor.predict_batch(batch)]
        segments, instances, maps = [0.0], [0.0], 0
        for one, other in zip(alone, together, strict=True):
            maps += not np.array_equal(one.panoptic, other.panoptic)
            segments += [abs(a.score - b.score) for a, b in zip(one.segments, other.segments, strict=True)]
            instances += [abs(a.score - b.score) for a, b in zip(one.instances, other.instances, strict=True)]
        found.append(Difference(max(segments), max(instances), maps))
    return found


if __name__ == "__main__":
    sizes = (2, 3, 8)
    for size, found in zip(sizes, differences(pictures(), sizes, sys.argv[1:]), strict=True):
        print(f"batches of {size}: segments {found.segments:.1e}, instances {found.instances:.1e}, maps {found.maps}")
