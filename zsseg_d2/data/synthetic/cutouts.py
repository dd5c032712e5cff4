"""Single objects without their surroundings: RGBA with soft edges, and their depth."""

from __future__ import annotations

import zlib
from functools import partial

import numpy as np
from PIL import Image
from scipy import ndimage

from .canvas import SUPERSAMPLING, Camera, Stage
from .figures import BUILDS
from .objects import place
from .props import FLAT_PROPS, SOLID_PROPS
from .shading import finish
from .vehicles import VEHICLES
from .world import World

KINDS = tuple(sorted({"person", "bicycle", "motorcycle", *BUILDS, *FLAT_PROPS, *SOLID_PROPS, *VEHICLES} - {"train"}))
"""Objects that are cut out; a train is longer than any canvas."""
NATIVE_SIDE = 384
"""Side in pixels of the square view (half a scene) in which a cut-out has the size that its depth implies."""

_FOCAL = 0.6 * 2 * NATIVE_SIDE  # of `render_scene`
_STAGE = 448  # pixels
_LENGTH = (150, 230)  # pixels of the longer side
_LARGE = (*VEHICLES, "airplane", "boat")


def render_cutout(world: World, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Render an object alone, cut to its box.

    Args:
        world: its colors, proportions and light.
        kind: one of :data:`KINDS`.
        seed: of everything that is drawn; the result depends on the arguments alone.

    Returns:
        (h, w, 4) uint8 RGBA, alpha not multiplied in; and (h, w) float32 metres, on a canvas of :data:`NATIVE_SIDE`.
    """
    entropy = [zlib.crc32(f"{world.name}/{kind}".encode()), seed]
    length, eye, turn, side = np.random.default_rng(entropy).random(4)
    wanted = _LENGTH[0] + (_LENGTH[1] - _LENGTH[0]) * length
    x = 0.6 * (side - 0.5)  # tangent of the angle from the middle of the view
    height = 1.1 + 1.2 * eye
    yaw = 2 * np.pi * turn if kind in VEHICLES or kind in SOLID_PROPS else None
    paint = partial(_painted, world, kind, entropy, height, x, yaw)
    z = 25.0 if kind in _LARGE else 6.0
    for _ in range(3):  # the size of a solid is not quite in proportion to 1 / z
        stage, index = paint(z)
        top, left, bottom, right = _box(stage, index)
        longer = max(bottom - top, right - left)
        if abs(longer - wanted) < 0.03 * wanted:
            break
        z *= longer / wanted
    return _developed(*paint(z))


def _painted(
    world: World, kind: str, entropy: list[int], height: float, x: float, yaw: float | None, z: float
) -> tuple[Stage, int]:
    horizon = 0.75 * _STAGE - _FOCAL * height / z  # the object's foot is always on the stage
    camera = Camera(_FOCAL, _STAGE / 2 - _FOCAL * x, horizon, height)
    stage = Stage(world, np.random.default_rng(entropy), camera, _STAGE, _STAGE)
    return stage, place(stage, kind, x * z, z, yaw=yaw, shadow=False)


def _box(stage: Stage, index: int) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of an object, in pixels at 1x."""
    rows, columns = ndimage.find_objects((np.asarray(stage.ids) == index).astype(np.uint8))[0]
    k = SUPERSAMPLING
    return rows.start // k, columns.start // k, -(-rows.stop // k), -(-columns.stop // k)


def _developed(stage: Stage, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return RGBA and metres of an object, whose colors are continued outward so that nothing else mixes in."""
    k = SUPERSAMPLING
    top, left, bottom, right = _box(stage, index)
    cut = slice(top * k, bottom * k), slice(left * k, right * k)
    inside = np.asarray(stage.ids)[cut] == index
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    stage.colour = Image.fromarray(np.asarray(stage.colour)[cut][tuple(nearest)])
    alpha = inside.reshape(bottom - top, k, right - left, k).mean(axis=(1, 3))
    touched = np.kron(alpha > 0, np.ones((k, k), bool))
    stage.ids = Image.fromarray(np.where(touched, index, 0).astype(np.int32))
    camera = stage.camera
    stage.camera = Camera(camera.focal, camera.cx - left, camera.horizon - top, camera.height)
    stage.height, stage.width = bottom - top, right - left
    image, _, _ = finish(stage)
    rgba = np.dstack([image, np.rint(alpha * 255).astype(np.uint8)])
    return rgba, np.full(alpha.shape, stage.parts[index].depth, np.float32)
