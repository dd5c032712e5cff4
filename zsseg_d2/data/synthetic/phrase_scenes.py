"""Square views of scenes of the pre-training world, and what is known of everything in view."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from .scene import Scene, render_scene
from .worlds import PRETRAINING

# Everything drawn is listed, however small: a phrase must not fit what its truth leaves out.
# Layouts and counts are those with several objects of a kind.
PHRASE_WORLD = replace(
    PRETRAINING,
    min_area=1,
    layouts={"street": 0.3, "plaza": 0.22, "park": 0.12, "harbour": 0.12, "beach": 0.1, "country": 0.14},
    frequency={
        **PRETRAINING.frequency,
        "car": 5.0,
        "person": 3.0,
        "bicycle": 1.2,
        "motorcycle": 1.0,
        "bus": 0.7,
        "truck": 0.7,
    },
    crowds=0.05,
)

CLEAR_SHARE = 0.004  # of the view's pixels; an object with fewer is too small to be asked for
_WHOLE_SHARE = 0.6  # of an object's pixels in the scene; with fewer, the edge of the view hides what it is
_STEP = 16  # pixels between the views that are tried


@dataclass(frozen=True)
class ViewObject:
    """An object as a view shows it."""

    index: int  # its value in `View.index`
    kind: str
    colour: str | None  # None: unclear
    size: str  # "small", "medium" or "large" in the image, whatever its kind
    box: tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels of the view, upper bounds exclusive
    depth: float  # metres from the camera
    is_thing: bool
    crowd: bool  # several under one index
    clear: bool  # large and whole enough to be recognised

    @property
    def centre(self) -> float:
        """The middle of its columns."""
        return (self.box[0] + self.box[2]) / 2


@dataclass(frozen=True)
class View:
    """A square part of a scene."""

    image: np.ndarray  # (S, S, 3) uint8 RGB
    index: np.ndarray  # (S, S) int32: object index, 0 where there is none
    objects: tuple[ViewObject, ...]


def render_view(seed: int, side: int = 256) -> View:
    """Return the square part of scene `seed` (twice as wide as high) with the most clear things, best of one kind.

    Raises:
        ValueError: `side` is below 64, or the seed negative.
    """
    scene = render_scene(PHRASE_WORLD, seed, side, 2 * side)
    starts = np.random.default_rng(seed).permutation(np.arange(0, side + 1, _STEP))
    views = [_cut(scene, int(start), side) for start in starts]
    return max(views, key=_richness)  # of equals, the first in the order that the seed gives


def _richness(view: View) -> int:
    """Count clear things, those of a repeated kind twice: phrases are about telling these apart."""
    kinds = [o.kind for o in view.objects if o.clear and o.is_thing]
    return 2 * len(kinds) - len(set(kinds))


def _cut(scene: Scene, start: int, side: int) -> View:
    """Return the columns `start` to `start + side`."""
    columns = slice(start, start + side)
    index = scene.index[:, columns]
    areas = np.bincount(index.ravel(), minlength=len(scene.objects) + 1)
    boxes = ndimage.find_objects(index, max_label=len(scene.objects))
    objects = []
    for thing, box in zip(scene.objects, boxes):
        if box is None:
            continue
        area = int(areas[thing.index])
        objects.append(
            ViewObject(
                index=thing.index,
                kind=thing.kind,
                colour=thing.colour,
                size=thing.size,
                box=(box[1].start, box[0].start, box[1].stop, box[0].stop),
                depth=thing.depth,
                is_thing=thing.is_thing,
                crowd=thing.crowd,
                clear=area >= max(CLEAR_SHARE * side * side, _WHOLE_SHARE * thing.area),
            )
        )
    return View(scene.image[:, columns], index, tuple(objects))
