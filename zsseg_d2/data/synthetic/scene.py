"""Rendering of a scene: a world and a seed in, an image with its objects out."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from ..errors import DatasetError
from .canvas import Camera, Stage
from .layouts import LAYOUTS
from .palette import COLOUR_NAMES, name_pixels
from .shading import finish
from .world import World

# Apparent size, in pixels per metre on an image 256 high: the same for every kind, hence relative to it.
_SMALL, _LARGE = 24.0, 42.0
# Named by the lit lamp or the border rather than by most of their pixels.
_COLOUR_BY_PART = ("traffic light", "traffic sign")
# Mostly tyres and what shows between the spokes: named by the dominant hue.
_DARK_WHEELED = ("bicycle", "motorcycle")


@dataclass(frozen=True)
class SceneObject:
    """One object as it appears in the image."""

    index: int  # its value in `Scene.index`
    kind: str  # class name; a kind without a category in its world counts as void there
    colour: str | None  # named colour, None unless its visible pixels show it
    size: str  # "small", "medium" or "large" for its kind
    box: tuple[int, int, int, int]  # visible extent x0, y0, x1, y1, upper bounds exclusive
    area: int  # visible pixels
    is_thing: bool
    crowd: bool  # a group under one index
    depth: float  # metres from the camera


def _no_depth() -> np.ndarray:
    """Return the depth of a scene that was not rendered."""
    return np.empty((0, 0), np.float32)


@dataclass(frozen=True)
class Scene:
    """An image and what is in it."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    index: np.ndarray  # (H, W) int32: object index, 0 where there is none
    objects: tuple[SceneObject, ...]  # in the order of their index, 1 to N
    layout: str
    depth: np.ndarray = field(default_factory=_no_depth)  # (H, W) float32 metres, 0.5 to 400


def render_scene(world: World, seed: int, height: int = 256, width: int = 512) -> Scene:
    """Render scene number `seed` of `world`.

    The result depends on the arguments alone. Details are drawn for images 128 to 1024 high
    and about twice as wide as high.

    Raises:
        DatasetError: the size is below 64 x 64 or the seed is negative.
    """
    if height < 64 or width < 64:
        raise DatasetError(f"a scene needs at least 64 x 64 pixels, not {height} x {width}")
    if seed < 0:
        raise DatasetError(f"the seed must not be negative: {seed}")
    rng = np.random.default_rng([zlib.crc32(world.name.encode()), seed])
    camera = Camera(
        focal=0.6 * width,
        cx=width * float(rng.uniform(0.42, 0.58)),
        horizon=height * float(rng.uniform(*world.horizon)),
        height=float(rng.uniform(*world.camera_height)) * (height / width) * 2,
    )
    stage = Stage(world, rng, camera, height, width)
    names = list(world.layouts)
    weights = np.array([world.layouts[name] for name in names])
    layout = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    LAYOUTS[layout](stage, seed)
    image, ids, depth = finish(stage)
    index, objects = _collect(stage, image, ids)
    return Scene(image, index, objects, layout, depth)


def _shows(shown: np.ndarray, colour: str, dark_wheeled: bool) -> bool:
    """Return whether `colour` dominates the pixel counts `shown`, (len(COLOUR_NAMES) + 1,), the last one nameless."""
    count, total = shown[COLOUR_NAMES.index(colour)], shown.sum()
    if not dark_wheeled or colour in ("black", "white"):
        return bool(count >= 0.25 * total and count >= shown[:-1].max())
    hues = [n for name, n in zip(COLOUR_NAMES, shown) if name not in ("black", "white")]
    return bool(count >= 0.1 * total and count >= max(hues))


def _collect(stage: Stage, image: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, tuple[SceneObject, ...]]:
    """Drop what is hidden or a sliver, number the rest from 1 to N, and describe it."""
    world, parts = stage.world, stage.parts
    count = len(parts)
    area = np.bincount(ids.ravel(), minlength=count)
    things = {c.name for c in world.categories if c.isthing} | (set(world.void_kinds) & {"rider"})
    least = world.min_area * stage.height * stage.width / (256 * 512)
    # Stuff is judged by class: a few pixels of wall far away are void, a corner of a big wall is not.
    total: Counter[str] = Counter()
    for i in range(1, count):
        total[parts[i].kind] += int(area[i])
    kept = [
        i
        for i in range(1, count)
        if area[i] and (area[i] if parts[i].kind in things else total[parts[i].kind]) >= least
    ]
    renumber = np.zeros(count, dtype=np.int32)
    renumber[kept] = np.arange(1, len(kept) + 1)
    index = renumber[ids]

    colours = len(COLOUR_NAMES) + 1
    shown = np.bincount((index * colours + name_pixels(image)).ravel(), minlength=(len(kept) + 1) * colours)
    shown = shown.reshape(-1, colours)
    boxes = ndimage.find_objects(index, max_label=len(kept))
    objects = []
    for new, old in enumerate(kept, start=1):
        part, (rows, columns) = parts[old], boxes[new - 1]
        colour = part.colour
        if (
            colour is not None
            and part.kind not in _COLOUR_BY_PART
            and not _shows(shown[new], colour, part.kind in _DARK_WHEELED)
        ):
            colour = None
        apparent = part.scale * 256 / stage.height
        objects.append(
            SceneObject(
                index=new,
                kind=part.kind,
                colour=None if part.crowd else colour,
                size="small" if apparent < _SMALL else "large" if apparent > _LARGE else "medium",
                box=(columns.start, rows.start, columns.stop, rows.stop),
                area=int(area[old]),
                is_thing=part.kind in things,
                crowd=part.crowd,
                depth=round(part.depth, 2),
            )
        )
    return index, tuple(objects)
