"""Stuff: sky, ground, buildings, walls, fences, trees, poles, traffic lights and signs."""

from __future__ import annotations

from math import pi

import numpy as np

from .canvas import Flat, Stage
from .palette import RGB, mix, shade
from .world import Surface

METAL: RGB = (112, 116, 120)
TRUNK: RGB = (92, 70, 52)


def sky(stage: Stage) -> int:
    """Fill the whole canvas with a sky that pales towards the horizon."""
    surface = stage.surface("sky")
    index = stage.new("sky", 400.0, surface, density=surface.density)
    w, horizon = stage.width, stage.camera.horizon
    for k in range(12):
        y0, y1 = k / 12 * horizon, (k + 1) / 12 * horizon
        bottom = stage.height if k == 11 else y1 + 1
        stage.polygon(
            [(0, y0), (w, y0), (w, bottom), (0, bottom)],
            mix(surface.rgb, (236, 238, 238), 0.55 * (k / 11) ** 1.5),
            index,
        )
    return index


def ground(
    stage: Stage, kind: str, outline: list[tuple[float, float]] | None = None, surface: Surface | None = None
) -> int:
    """Paint a patch of ground given by (x, z) metres; None covers everything below the horizon."""
    surface = surface or stage.surface(kind)
    index = stage.new(kind, 20.0, surface, plane="ground")
    if outline is None:
        y = stage.camera.horizon + 0.004 * stage.height
        w, h = stage.width, stage.height
        stage.polygon([(0, y), (w, y), (w, h), (0, h)], surface.rgb, index)
    else:
        stage.quad3([(x, 0, z) for x, z in outline], surface.rgb, index)
    return index


def strip(stage: Stage, kind: str, x0: float, x1: float, z0: float = 0.7, z1: float = 160.0) -> int:
    """Paint a strip of ground along the street between two X."""
    return ground(stage, kind, [(x0, z0), (x1, z0), (x1, z1), (x0, z1)])


def marking(stage: Stage, x: float, z0: float, z1: float, width: float, rgb: RGB) -> None:
    """Paint a line on the road; part of the road."""
    corners = ((x - width / 2, z0), (x + width / 2, z0), (x + width / 2, z1), (x - width / 2, z1))
    stage.quad3([(a, 0, b) for a, b in corners], rgb)


def _side_wall(
    stage: Stage, index: int, x: float, z0: float, z1: float, y0: float, y1: float, rgb: RGB, solid: bool = True
) -> None:
    stage.quad3([(x, y0, z0), (x, y1, z0), (x, y1, z1), (x, y0, z1)], rgb, index if solid else None)


def _front_wall(
    stage: Stage, index: int, z: float, x0: float, x1: float, y0: float, y1: float, rgb: RGB, solid: bool = True
) -> None:
    stage.quad3([(x0, y0, z), (x0, y1, z), (x1, y1, z), (x1, y0, z)], rgb, index if solid else None)


def building(stage: Stage, x: float, z0: float, z1: float, height: float, side: int, depth: float = 12.0) -> None:
    """Paint a house whose facade stands at X = x along the street from z0 to z1; `side` -1 left, 1 right."""
    rng, surface = stage.rng, stage.surface("building")
    glass = stage.world.glass[int(rng.integers(len(stage.world.glass)))]
    near = max(z0, 0.8)
    if near > 1.0:  # the gable that faces the camera, an object part with its own plane
        gable = stage.new("building", near, surface)
        _front_wall(stage, gable, near, x, x + side * depth, 0, height, shade(surface.rgb, 0.86))
        for floor in range(int(height / 3.2)):
            for k in range(1, 4):
                u = x + side * depth * k / 4
                _front_wall(stage, gable, near, u - 0.5, u + 0.5, 1.0 + 3.2 * floor, 2.6 + 3.2 * floor, glass, False)
    index = stage.new("building", (near + z1) / 2, surface, plane="side", plane_x=x)
    lit = 1.04 if side > 0 else 0.94
    rgb = shade(surface.rgb, lit)
    _side_wall(stage, index, x, near, z1, 0, height, rgb)
    _side_wall(stage, index, x, near, z1, height - 0.35, height, shade(rgb, 0.72), False)
    trim, lamp = mix(rgb, (250, 248, 240), 0.5), rng.random(64)
    bay = float(rng.uniform(1.9, 2.8))
    count = max(1, int((z1 - z0) / bay))
    for floor in range(int((height - 0.8) / 3.1)):
        y0 = 1.0 + 3.1 * floor
        for k in range(count):
            a = z0 + (k + 0.5) * (z1 - z0) / count
            if a - 0.6 < 0.9:
                continue
            if floor == 0 and k % 4 == 1:
                _side_wall(stage, index, x, a - 0.55, a + 0.55, 0, 2.2, shade(rgb, 0.42), False)
                continue
            if a < 30:
                _side_wall(stage, index, x, a - 0.62, a + 0.62, y0 - 0.12, y0 + 1.62, trim, False)
            pane = (236, 214, 150) if lamp[(floor * 7 + k) % 64] < 0.06 else glass
            _side_wall(stage, index, x, a - 0.5, a + 0.5, y0, y0 + 1.5, pane, False)


def house_front(stage: Stage, x0: float, x1: float, z: float, height: float, pitched: bool = False) -> int:
    """Paint a facade that faces the camera, optionally with a pitched roof."""
    rng, surface = stage.rng, stage.surface("building")
    index = stage.new("building", z, surface)
    glass = stage.world.glass[int(rng.integers(len(stage.world.glass)))]
    if pitched:
        rise, roof = 0.3 * (x1 - x0), [(150, 70, 52), (96, 76, 70), (84, 92, 110)][int(rng.integers(3))]
        stage.quad3([(x0 - 0.4, height, z), ((x0 + x1) / 2, height + rise, z), (x1 + 0.4, height, z)], roof, index)
    _front_wall(stage, index, z, x0, x1, 0, height, surface.rgb)
    trim = mix(surface.rgb, (250, 248, 240), 0.55)
    columns, floors = max(1, int((x1 - x0) / 2.4)), max(1, int(height / 3.0))
    for floor in range(floors):
        for k in range(columns):
            u, v = x0 + (k + 0.5) * (x1 - x0) / columns, 0.9 + 3.0 * floor
            if floor == 0 and k == columns // 2:
                _front_wall(stage, index, z, u - 0.55, u + 0.55, 0, 2.1, shade(surface.rgb, 0.4), False)
                continue
            _front_wall(stage, index, z, u - 0.65, u + 0.65, v - 0.12, v + 1.6, trim, False)
            _front_wall(stage, index, z, u - 0.5, u + 0.5, v, v + 1.48, glass, False)
    return index


def wall(stage: Stage, x: float, z0: float, z1: float, height: float) -> None:
    """Paint a free-standing wall along the street with a coping."""
    surface = stage.surface("wall")
    near = max(z0, 0.8)
    index = stage.new("wall", (near + z1) / 2, surface, plane="side", plane_x=x)
    _side_wall(stage, index, x, near, z1, 0, height, surface.rgb)
    _side_wall(stage, index, x, near, z1, height - 0.22, height, mix(surface.rgb, (240, 240, 236), 0.4), False)


def wall_front(stage: Stage, x0: float, x1: float, z: float, height: float) -> None:
    """Paint a wall that faces the camera."""
    surface = stage.surface("wall")
    index = stage.new("wall", z, surface)
    _front_wall(stage, index, z, x0, x1, 0, height, surface.rgb)
    _front_wall(stage, index, z, x0, x1, height - 0.2, height, mix(surface.rgb, (240, 240, 236), 0.4), False)


def _fence(stage: Stage, corner, bars: np.ndarray, height: float) -> None:
    """Paint bars and rails; the space between the bars counts as fence, as annotators draw it."""
    surface = stage.surface("fence")
    index = corner(None)
    part = stage.parts[index]
    part.contrast = surface.contrast
    dark = shade(surface.rgb, 0.7)
    ends = [corner((bars[0], 0)), corner((bars[0], height)), corner((bars[-1], height)), corner((bars[-1], 0))]
    pixels = [stage.camera.project(*p) for p in ends]
    stage.polygon(pixels, None, index)
    for v in (0.12, 0.5, 0.94):
        a, b = (stage.camera.project(*corner((bars[k], v * height))) for k in (0, -1))
        stage.line([a, b], max(0.07 * stage.camera.scale(part.depth), 0.8), dark)
    for u in bars:
        foot, tip = corner((u, 0)), corner((u, height * 1.02))
        width = max(0.085 * stage.camera.scale(foot[2]), 0.7)
        stage.line([stage.camera.project(*foot), stage.camera.project(*tip)], width, surface.rgb)


def fence(stage: Stage, x: float, z0: float, z1: float, height: float) -> None:
    """Paint a railing or picket fence along the street."""
    near = max(z0, 1.2)
    if z1 - near < 0.5:
        return

    def corner(p):
        if p is None:
            return stage.new("fence", (near + z1) / 2, None, plane="side", plane_x=x)
        return x, p[1], p[0]

    # Bars grow sparser in metres with distance, so that they stay apart in pixels.
    steps = [near]
    while steps[-1] < z1:
        steps.append(steps[-1] + max(0.22, 0.018 * steps[-1] ** 1.35))
    _fence(stage, corner, np.array(steps), height)


def fence_front(stage: Stage, x0: float, x1: float, z: float, height: float) -> None:
    """Paint a fence that faces the camera."""
    step = max(0.25, 4.5 / stage.camera.scale(z))

    def corner(p):
        return stage.new("fence", z, None) if p is None else (p[0], p[1], z)

    _fence(stage, corner, np.arange(x0, x1 + step, step), height)


def tree(stage: Stage, x: float, z: float, height: float, kind: str = "broad", index: int | None = None) -> int:
    """Paint a tree with its trunk (vegetation): "broad", "conifer" or "palm"."""
    rng, surface = stage.rng, stage.surface("vegetation")
    if index is None:
        index = stage.new("vegetation", z, surface, roundness=0.25)
    flat = Flat(stage, x, z, index)
    flat.stroke([(0, 0), (float(rng.uniform(-0.1, 0.1)), height * 0.55)], 0.055 * height + 0.08, TRUNK)
    if kind == "conifer":
        for k in range(4):
            v, w = height * (0.14 + 0.2 * k), height * (0.26 - 0.05 * k)
            flat.polygon([(-w, v), (0, v + 0.36 * height), (w, v)], shade(surface.rgb, 0.86 + 0.07 * k))
    elif kind == "palm":
        flat.stroke([(0, 0), (0.1, height * 0.5), (0.25, height * 0.85)], 0.05 * height, (150, 122, 86))
        for a in np.linspace(-0.5, pi + 0.5, 8):
            u, v = 0.25 + 0.4 * height * np.cos(a), height * (0.85 + 0.22 * np.sin(a)) - 0.1 * height * abs(np.cos(a))
            flat.stroke(
                [(0.25, 0.86 * height), ((0.25 + u) / 2, (v + height) / 2), (u, v)], 0.075 * height, surface.rgb
            )
    else:
        r = 0.3 * height
        for _ in range(9):
            a, d = rng.uniform(0, 2 * pi), rng.uniform(0, 0.75) * r
            tone = shade(surface.rgb, float(rng.uniform(0.8, 1.15)))
            flat.oval(
                d * np.cos(a),
                0.68 * height + 0.75 * d * np.sin(a),
                r * rng.uniform(0.4, 0.62),
                r * rng.uniform(0.38, 0.55),
                tone,
            )
    return index


def hedge(stage: Stage, x: float, z0: float, z1: float, height: float) -> None:
    """Paint a hedge or a row of bushes along the street."""
    rng, surface = stage.rng, stage.surface("vegetation")
    near = max(z0, 1.0)
    index = stage.new("vegetation", (near + z1) / 2, surface, plane="side", plane_x=x)
    z, top = near, []
    while z < z1:
        top.append((x, height * float(rng.uniform(0.85, 1.12)), z))
        z += max(0.35, 0.07 * z)
    top.append((x, height * 0.95, z1))
    stage.quad3([(x, 0, near), *top, (x, 0, z1)], surface.rgb, index)


def treeline(stage: Stage, z: float, height: float, x0: float, x1: float, kind: str = "vegetation") -> int:
    """Paint a far row of tree crowns (or, as "mountain", a ridge) across the image."""
    rng, surface = stage.rng, stage.surface(kind)
    index = stage.new(kind, z, surface, roundness=0.15)
    if kind == "mountain":
        count = int(rng.integers(4, 8))
        peaks = np.sort(rng.uniform(x0, x1, count))
        for p in peaks:
            h, w = height * rng.uniform(0.55, 1.15), height * rng.uniform(1.2, 2.4)
            stage.quad3(
                [(p - w, 0, z), (p - 0.1 * w, h, z), (p + 0.12 * w, 0.93 * h, z), (p + w, 0, z)],
                shade(surface.rgb, rng.uniform(0.88, 1.1)),
                index,
            )
            stage.quad3(
                [
                    (p - 0.32 * w, 0.74 * h, z),
                    (p - 0.1 * w, h, z),
                    (p + 0.12 * w, 0.93 * h, z),
                    (p + 0.02 * w, 0.7 * h, z),
                ],
                (238, 240, 244),
            )
        stage.quad3([(x0, 0, z), (x0, 0.25 * height, z), (x1, 0.25 * height, z), (x1, 0, z)], surface.rgb, index)
        return index
    step = height * 0.5
    stage.quad3([(x0, 0, z), (x0, 0.6 * height, z), (x1, 0.6 * height, z), (x1, 0, z)], shade(surface.rgb, 0.85), index)
    flat = Flat(stage, 0, z, index)
    for u in np.arange(x0, x1, step):
        flat.oval(
            float(u),
            0.6 * height,
            step * rng.uniform(0.55, 0.9),
            height * rng.uniform(0.25, 0.45),
            shade(surface.rgb, float(rng.uniform(0.85, 1.1))),
        )
    return index


def pole(stage: Stage, x: float, z: float, height: float, arm: float = 0.0) -> int:
    """Paint a post, with a lamp on an arm of `arm` metres if that is not 0."""
    surface = stage.surface("pole")
    index = stage.new("pole", z, surface)
    flat = Flat(stage, x, z, index)
    width = max(0.15, 1.7 / flat.pixels)
    flat.stroke([(0, 0), (0, height)], width, surface.rgb)
    flat.stroke([(width * 0.3, 0), (width * 0.3, height)], width * 0.3, shade(surface.rgb, 0.7), False)
    if arm:
        flat.stroke([(0, height), (arm, height + 0.25)], width * 0.7, surface.rgb)
        flat.polygon(
            [(arm - 0.1, height + 0.15), (arm, height + 0.38), (arm * 1.5, height + 0.34), (arm * 1.5, height + 0.18)],
            shade(surface.rgb, 0.8),
        )
    return index


def traffic_light(stage: Stage, x: float, z: float, y: float, size: float = 1.0) -> int:
    """Paint a dark box with three round lamps, one of which is lit; its colour attribute is the lit lamp."""
    rng = stage.rng
    lit = int(rng.integers(3))
    index = stage.new("traffic light", z, None, contrast=0.02, scale=stage.camera.scale(z) * size)
    stage.parts[index].colour = ("red", "yellow", "green")[lit]
    flat = Flat(stage, x, z, index, size, y=y)
    rim = stage.surface("traffic light").rgb
    flat.polygon([(-0.3, -0.05), (-0.3, 1.25), (0.3, 1.25), (0.3, -0.05)], rim)
    flat.polygon([(-0.23, 0.02), (-0.23, 1.18), (0.23, 1.18), (0.23, 0.02)], shade(rim, 0.7), False)
    on = ((250, 50, 40), (255, 200, 50), (60, 230, 110))
    for k in range(3):
        v = 0.98 - 0.38 * k
        flat.oval(0, v, 0.185, 0.17, on[k] if k == lit else shade(on[k], 0.3), False)
    return index


def traffic_sign(stage: Stage, x: float, z: float, y: float, size: float = 1.0) -> int:
    """Paint a disc, triangle, octagon or square with a rim and a symbol."""
    rng = stage.rng
    index = stage.new("traffic sign", z, None, contrast=0.02, scale=stage.camera.scale(z) * size)
    flat = Flat(stage, x, z, index, size, y=y)
    red, blue, yellow, white, ink = (204, 26, 34), (22, 78, 176), (246, 200, 36), (244, 244, 242), (30, 30, 34)
    shape = int(rng.integers(6))
    part = stage.parts[index]
    if shape in (0, 1):  # prohibition, mandatory
        part.colour = ("red", "blue")[shape]
        flat.oval(0, 0, 0.42, 0.42, (red, blue)[shape])
        if shape == 0 and rng.random() < 0.6:
            flat.oval(0, 0, 0.29, 0.29, white, False)
            flat.polygon([(-0.18, -0.05), (-0.18, 0.07), (0.18, 0.07), (0.18, -0.05)], ink, False)
        else:
            flat.polygon([(-0.28, -0.07), (-0.28, 0.08), (0.28, 0.08), (0.28, -0.07)], white, False)
    elif shape == 2:  # warning
        part.colour = "red"
        flat.polygon([(-0.5, -0.38), (0, 0.5), (0.5, -0.38)], red)
        flat.polygon([(-0.3, -0.27), (0, 0.26), (0.3, -0.27)], white, False)
        flat.stroke([(0, -0.18), (0, 0.08)], 0.09, ink, False)
    elif shape == 3:  # stop
        part.colour = "red"
        flat.polygon([(0.45 * np.cos(a), 0.45 * np.sin(a)) for a in np.arange(8) * pi / 4 + pi / 8], red)
        flat.polygon([(-0.3, -0.08), (-0.3, 0.09), (0.3, 0.09), (0.3, -0.08)], white, False)
    elif shape == 4:  # guide
        part.colour = "blue"
        flat.polygon([(-0.45, -0.45), (-0.45, 0.45), (0.45, 0.45), (0.45, -0.45)], blue)
        flat.polygon([(-0.2, -0.26), (0, 0.3), (0.2, -0.26)], white, False)
    else:  # priority
        part.colour = "yellow"
        flat.polygon([(-0.52, 0), (0, 0.52), (0.52, 0), (0, -0.52)], white)
        flat.polygon([(-0.41, 0), (0, 0.41), (0.41, 0), (0, -0.41)], yellow, False)
    return index
