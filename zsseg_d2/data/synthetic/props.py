"""The pre-training world's other things: boats, kites, benches, tents, cones and the like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .canvas import Flat, Stage
from .palette import RGB, shade
from .solids import box, paint, prism

WOOD: RGB = (150, 106, 64)
DARK: RGB = (56, 54, 56)
PALE: RGB = (240, 238, 230)


def boat(flat: Flat, rng: np.random.Generator, rgb: RGB) -> None:
    """Paint a hull with either a sail or a wheelhouse."""
    if rng.random() < 0.5:
        flat.stroke([(0.1, 0.6), (0.1, 4.2)], 0.1, WOOD)
        flat.polygon([(0.25, 1.0), (0.25, 4.1), (1.9, 1.1)], PALE)
        flat.polygon([(-0.05, 1.0), (-0.05, 3.6), (-1.5, 1.1)], shade(PALE, 0.88))
    else:
        flat.polygon([(-1.2, 0.8), (-1.1, 1.7), (0.5, 1.7), (0.7, 0.8)], PALE)
        for u in (-0.85, -0.15):
            flat.polygon([(u, 1.15), (u, 1.5), (u + 0.45, 1.5), (u + 0.45, 1.15)], (62, 84, 104), False)
        flat.stroke([(-0.8, 1.7), (-0.8, 2.3)], 0.2, shade(rgb, 0.8))
    flat.polygon([(-2.1, 0.95), (2.5, 1.1), (1.8, 0.0), (-1.7, 0.0)], rgb)
    flat.polygon([(-2.1, 0.95), (2.5, 1.1), (2.4, 0.94), (-2.08, 0.8)], PALE, False)


def airplane(flat: Flat, rng: np.random.Generator, rgb: RGB) -> None:
    """Paint fuselage, wing, tail fin, a row of cabin windows."""
    del rng
    flat.polygon([(-2.9, 0.6), (-3.5, 1.7), (-2.9, 1.7), (-1.9, 0.75)], shade(rgb, 0.85))
    flat.oval(0, 0.4, 3.3, 0.44, rgb)
    flat.polygon([(0.6, 0.4), (-1.5, -0.85), (-0.7, -0.85), (1.5, 0.3)], shade(rgb, 0.72))
    flat.polygon([(0.4, 0.75), (-0.8, 1.4), (-0.3, 1.4), (1.1, 0.7)], shade(rgb, 0.8))
    for u in np.linspace(-2.2, 2.2, 9):
        flat.oval(float(u), 0.5, 0.11, 0.11, (60, 80, 110), False)
    flat.polygon([(2.6, 0.55), (3.0, 0.6), (3.15, 0.42), (2.7, 0.42)], (50, 66, 92), False)


def kite(flat: Flat, rng: np.random.Generator, rgb: RGB) -> None:
    """Paint a diamond with a cross and a tail of bows."""
    tail = [(0.0, -1.0), (0.22, -1.4), (-0.12, -1.8), (0.18, -2.3)]
    flat.stroke(tail, 0.07, DARK)
    for u, v in tail[1:]:
        flat.polygon([(u - 0.2, v + 0.1), (u + 0.2, v - 0.1), (u + 0.2, v + 0.1), (u - 0.2, v - 0.1)], shade(rgb, 0.8))
    flat.polygon([(0, -1.0), (-0.75, 0.25), (0, 1.0), (0.75, 0.25)], rgb)
    flat.polygon([(0, -1.0), (0.75, 0.25), (0, 0.25)], shade(rgb, 0.75), False)
    flat.polygon([(0, 1.0), (-0.75, 0.25), (0, 0.25)], shade(rgb, 0.85), False)


def ball(flat: Flat, rng: np.random.Generator, rgb: RGB) -> None:
    """Paint a big ball with a pale band."""
    flat.oval(0, 0.4, 0.4, 0.4, rgb)
    a = float(rng.uniform(-0.3, 0.3))
    flat.polygon([(-0.39, 0.34 - a), (-0.39, 0.46 - a), (0.39, 0.46 + a), (0.39, 0.34 + a)], PALE, False)
    flat.oval(-0.13, 0.55, 0.08, 0.06, (255, 255, 250), False)


def bench(flat: Flat, rng: np.random.Generator, rgb: RGB) -> None:
    """Paint slatted back and seat on two iron feet."""
    del rng
    for u in (-0.75, 0.75):
        flat.stroke([(u, 0.0), (u, 0.5)], 0.1, DARK)
        flat.stroke([(u, 0.45), (u * 1.02, 1.0)], 0.07, DARK)
    flat.polygon([(-0.98, 0.38), (-0.94, 0.56), (0.94, 0.56), (0.98, 0.38)], rgb)
    flat.polygon([(-0.94, 0.56), (-0.94, 1.02), (0.94, 1.02), (0.94, 0.56)], None)
    for v in (0.64, 0.79, 0.94):
        flat.stroke([(-0.93, v), (0.93, v)], 0.12, rgb)


def umbrella(flat: Flat, rng: np.random.Generator, rgb: RGB) -> None:
    """Paint a parasol: a domed canopy of alternating panels on a stick."""
    del rng
    flat.stroke([(0, 0), (0, 2.1)], 0.07, WOOD)
    dome = [(1.25 * np.cos(a), 1.75 + 0.75 * np.sin(a)) for a in np.linspace(0, np.pi, 13)]
    flat.polygon(dome, rgb)
    for k in (-1, 1):
        flat.polygon([(k * 0.42, 1.75), (0, 2.5), (k * 0.8, 1.75)], shade(rgb, 0.72), False)
    flat.oval(0, 2.52, 0.06, 0.06, WOOD)


def cone(flat: Flat, rng: np.random.Generator, rgb: RGB) -> None:
    """Paint a traffic cone with pale bands on a dark foot."""
    del rng
    flat.polygon([(-0.32, 0), (-0.32, 0.08), (0.32, 0.08), (0.32, 0)], DARK)
    flat.polygon([(-0.24, 0.08), (-0.05, 0.78), (0.05, 0.78), (0.24, 0.08)], rgb)
    for v in (0.28, 0.52):
        w0, w1 = 0.24 - 0.27 * (v - 0.08), 0.24 - 0.27 * (v + 0.04)
        flat.polygon([(-w0, v), (-w1, v + 0.12), (w1, v + 0.12), (w0, v)], PALE, False)


def hydrant(flat: Flat, rng: np.random.Generator, rgb: RGB) -> None:
    """Paint a stout pillar with a cap and two outlets."""
    del rng
    flat.polygon([(-0.28, 0), (-0.28, 0.1), (0.28, 0.1), (0.28, 0)], shade(rgb, 0.75))
    flat.polygon([(-0.19, 0.1), (-0.19, 0.72), (0.19, 0.72), (0.19, 0.1)], rgb)
    flat.oval(0, 0.72, 0.23, 0.16, shade(rgb, 0.9))
    for side in (-1, 1):
        flat.stroke([(side * 0.15, 0.5), (side * 0.3, 0.5)], 0.15, shade(rgb, 0.8))
    flat.oval(0, 0.46, 0.1, 0.1, PALE, False)
    flat.oval(0, 0.9, 0.06, 0.06, shade(rgb, 0.7))


def _box(stage: Stage, index: int, x: float, z: float, yaw: float, size: float, rgb: RGB) -> None:
    side = 0.9 * size
    solid = box(-side / 2, side / 2, 0, side * 0.85, side, rgb, {1: shade(rgb, 1.15)})
    for face in (solid.left, solid.right):
        l, w = side / 2, face.points[0][1]
        face.decals.append(
            ([(-l, w, 0.36 * side), (-l, w, 0.46 * side), (l, w, 0.46 * side), (l, w, 0.36 * side)], shade(rgb, 0.7))
        )
    solid.decal_edge(0, (-0.08, 0, 0.08, 1), shade(rgb, 0.7))
    solid.decal_edge(2, (-0.08, 0, 0.08, 1), shade(rgb, 0.7))
    paint(stage, index, [solid], x, z, yaw)


def _table(stage: Stage, index: int, x: float, z: float, yaw: float, size: float, rgb: RGB) -> None:
    l, w, h = 0.85 * size, 1.1 * size, 0.78 * size
    for du, dz in ((-1, 0.9), (1, 0.9), (-1, -0.9), (1, -0.9)):
        flat = Flat(stage, x + du * (l - 0.08), z + dz * w * 0.4, index)
        flat.stroke([(0, 0), (0, h)], 0.1 * size, shade(rgb, 0.6))
    paint(stage, index, [box(-l, l, h - 0.14 * size, h, w, rgb, {1: shade(rgb, 1.1)})], x, z, np.pi / 2)


def _tent(stage: Stage, index: int, x: float, z: float, yaw: float, size: float, rgb: RGB) -> None:
    s = size
    solid = prism([(-1.2 * s, 0), (0, 1.7 * s), (1.2 * s, 0)], 2.6 * s, rgb)
    for face in (solid.left, solid.right):
        w = face.points[0][1]
        face.decals.append(([(-0.4 * s, w, 0), (0, w, 1.25 * s), (0.4 * s, w, 0)], shade(rgb, 0.5)))
    paint(stage, index, [solid], x, z, yaw)


FLAT_PROPS: dict[str, Callable[[Flat, np.random.Generator, RGB], None]] = {
    "boat": boat,
    "airplane": airplane,
    "kite": kite,
    "ball": ball,
    "bench": bench,
    "umbrella": umbrella,
    "traffic cone": cone,
    "fire hydrant": hydrant,
}
SOLID_PROPS: dict[str, Callable[[Stage, int, float, float, float, float, RGB], None]] = {
    "box": _box,
    "table": _table,
    "tent": _tent,
}
