"""The street layout: a road in perspective between sidewalks and lots, with traffic."""

from __future__ import annotations

from functools import partial
from math import exp, log, pi

from . import scenery
from .arrangement import Arrangement
from .canvas import Stage
from .objects import place
from .palette import RGB

NEAREST, FARTHEST = 4.3, 18.0  # metres: where things stand


def street(stage: Stage, seed: int) -> None:
    """Paint a street. The world's `featured` kinds take turns by seed."""
    rng, world = stage.rng, stage.world
    frequency, everything = world.frequency, Arrangement(stage)
    featured = world.featured[seed % len(world.featured)] if world.featured else ""
    half = float(rng.uniform(*world.road_width)) / 2
    walk = float(rng.uniform(2.6, 4.4))
    shows_train = featured == "train" or rng.random() < frequency["train"]
    crossing = rng.random() < (0.55 if shows_train else 0.35)
    gap = float(rng.uniform(11.5, 17.0)) if crossing else None

    scenery.sky(stage)
    _background(stage)
    scenery.ground(stage, "sidewalk")
    if gap is not None:
        scenery.ground(stage, "road", [(-90, gap - 3.4), (90, gap - 3.4), (90, gap + 3.4), (-90, gap + 3.4)])
    verges = {}
    for side in (-1, 1):
        has_verge = rng.random() < (0.75 if featured == "terrain" else frequency["terrain"])
        verges[side] = float(rng.uniform(3.0, 6.0)) if has_verge else 0.3
        _sidewalk(stage, half, walk, side, gap)
    _road(stage, half, gap)
    for side in (-1, 1):
        _lots(stage, everything, side, half + walk + verges[side], gap, featured)
        if verges[side] > 1:
            lawn = "terrain" if "terrain" in world.surfaces else "grass"
            inner, outer = side * (half + walk), side * (half + walk + verges[side])
            for z0, z1 in [(0.7, 90.0)] if gap is None else [(0.7, gap - 3.6), (gap + 3.6, 90.0)]:
                scenery.ground(stage, lawn, [(inner, z0), (outer, z0), (outer, z1), (inner, z1)])
            for _ in range(int(rng.integers(1, 4))):
                z = float(rng.uniform(5, 30))
                x = side * (half + walk + verges[side] / 2)
                everything.add(z, partial(scenery.tree, stage, x, z, float(rng.uniform(2.6, 5.5)), _species(stage)))
    if shows_train:
        _train(stage, everything, half, gap)
    _furniture(stage, everything, half, walk)
    _traffic(stage, everything, half, walk, gap, featured)
    everything.paint()
    if "ego vehicle" in world.void_kinds and rng.random() < 0.6:
        _hood(stage)


def _species(stage: Stage) -> str:
    return str(stage.rng.choice(["broad", "broad", "broad", "conifer"]))


def _background(stage: Stage) -> None:
    """Paint what closes the view along the street."""
    rng = stage.rng
    kind = rng.random()
    if kind < 0.45:
        x = -110.0
        while x < 110:
            width = float(rng.uniform(12, 28))
            scenery.house_front(stage, x, x + width, 85, float(rng.uniform(8, 26)))
            x += width + float(rng.uniform(0, 4))
    elif kind < 0.85 or "mountain" not in stage.world.surfaces:
        scenery.treeline(stage, 85, float(rng.uniform(7, 13)), -120, 120)
    else:
        scenery.treeline(stage, 200, float(rng.uniform(22, 40)), -260, 260, "mountain")


def _sidewalk(stage: Stage, half: float, walk: float, side: int, gap: float | None) -> None:
    surface = stage.surface("sidewalk")
    curb: RGB = (186, 184, 180)
    for z0, z1 in [(0.7, 160.0)] if gap is None else [(0.7, gap - 3.4), (gap + 3.4, 160.0)]:
        inner, outer = side * half, side * (half + walk)
        scenery.ground(stage, "sidewalk", [(inner, z0), (outer, z0), (outer, z1), (inner, z1)], surface)
        scenery.marking(stage, inner + side * 0.1, z0, z1, 0.2, curb)


def _road(stage: Stage, half: float, gap: float | None) -> None:
    rng = stage.rng
    scenery.strip(stage, "road", -half, half)
    paint: RGB = (222, 222, 216) if rng.random() < 0.8 else (216, 190, 90)
    if rng.random() < 0.85:
        dash = float(rng.choice([2.0, 3.0, 200.0]))
        z = float(rng.uniform(1, 4))
        while z < 70:
            if gap is None or not gap - 4 < z < gap + 3.4:
                scenery.marking(stage, 0, z, min(z + dash, 70 if gap is None or z > gap else gap - 4), 0.16, paint)
            z += 2 * dash
    if gap is not None:  # a zebra crossing before the junction
        x = -half + 0.4
        while x < half - 0.4:
            scenery.marking(stage, x + 0.3, gap - 6.6, gap - 4.2, 0.55, (216, 216, 212))
            x += 1.1


def _lots(stage: Stage, everything: Arrangement, side: int, x: float, gap: float | None, featured: str) -> None:
    """Paint buildings, walls, fences, hedges and trees along one side."""
    rng, frequency = stage.rng, stage.world.frequency
    kinds = ("building", "wall", "fence", "hedge", "trees")
    weights = [frequency[kind] for kind in kinds]
    shares = [w / sum(weights) for w in weights]
    z = 1.0
    feature_side = 1 if rng.random() < 0.5 else -1
    while z < 75:
        end = z + float(rng.uniform(7, 16))
        if gap is not None and z < gap < end + 3.4:
            end = max(gap - 3.8, z + 0.5)
        # Far away a wall or fence is a few pixels: only what can be seen is built.
        kind = str(rng.choice(kinds, p=shares)) if z < 22 else str(rng.choice(["building", "trees"], p=[0.8, 0.2]))
        if featured in ("wall", "fence") and side == feature_side and end > 4 and z < 9:
            kind = featured
        everything.add(end, partial(_lot, stage, kind, side, side * x, z, end))
        z = end + float(rng.uniform(0, 1.5))
        if gap is not None and z < gap and end > gap - 5:
            z = gap + 3.8


def _lot(stage: Stage, kind: str, side: int, x: float, z0: float, z1: float) -> None:
    rng = stage.rng
    if kind == "building":
        scenery.building(stage, x, z0, z1, float(rng.uniform(6.5, 19)), side)
        return
    lawn = "terrain" if "terrain" in stage.world.surfaces else "grass"
    if z0 < 22 and kind in ("fence", "trees"):
        scenery.ground(stage, lawn, [(x, z0), (x + side * 40, z0), (x + side * 40, z1), (x, z1)])
    if rng.random() < 0.35 and kind != "trees":
        scenery.building(stage, x + side * 7, z0, z1, float(rng.uniform(6, 12)), side)
    elif kind != "hedge":
        z = z1
        while z > max(z0, 3.0):
            scenery.tree(stage, x + side * float(rng.uniform(2, 6)), z, float(rng.uniform(3.5, 8)), _species(stage))
            z -= float(rng.uniform(2.5, 5))
    if kind == "wall":
        scenery.wall(stage, x, z0, z1, float(rng.uniform(1.9, 3.2)))
    elif kind == "fence":
        scenery.fence(stage, x, z0, z1, float(rng.uniform(1.3, 2.1)))
    elif kind == "hedge":
        scenery.hedge(stage, x, z0, z1, float(rng.uniform(1.3, 2.6)))


def _train(stage: Stage, everything: Arrangement, half: float, gap: float | None) -> None:
    """Paint a tram or train, across the junction or along one side, on a track bed."""
    rng = stage.rng
    length, width, _ = stage.world.sizes["train"]
    bed = "ground" if "ground" in stage.world.void_kinds else "gravel"
    rail: RGB = (150, 148, 146)
    if gap is not None:
        scenery.ground(stage, bed, [(-90, gap - 2), (90, gap - 2), (90, gap + 2), (-90, gap + 2)])
        for dz in (-0.75, 0.75):
            stage.quad3(
                [
                    (-90, 0, gap + dz - 0.07),
                    (90, 0, gap + dz - 0.07),
                    (90, 0, gap + dz + 0.07),
                    (-90, 0, gap + dz + 0.07),
                ],
                rail,
            )
        x, yaw = float(rng.uniform(-7, 7)), float(rng.choice([-pi / 2, pi / 2]))
        everything.claim(x, gap, length / 2, width / 2)
        everything.add(gap - width / 2, partial(place, stage, "train", x, gap, yaw=yaw, size=1.0))
        return
    side = 1 if rng.random() < 0.5 else -1
    x = side * (half - 1.7)
    scenery.strip(stage, bed, x - 1.7, x + 1.7)
    for dx in (-0.75, 0.75):
        scenery.marking(stage, x + dx, 0.8, 120, 0.12, rail)
    front = float(rng.uniform(6.0, 10.5))
    z = front + length / 2
    everything.claim(x, z, width / 2 + 0.3, length / 2)
    everything.add(front, partial(place, stage, "train", x, z, yaw=float(rng.choice([0, pi])), size=1.0))


def _furniture(stage: Stage, everything: Arrangement, half: float, walk: float) -> None:
    """Paint poles, lights, signs, street trees and unlabelled clutter at the kerbs."""
    rng, frequency, world = stage.rng, stage.world.frequency, stage.world
    for kind in ("pole", "traffic light", "traffic sign", "tree", "static", "dynamic"):
        if kind in ("static", "dynamic") and kind not in world.void_kinds:
            continue
        for _ in range(int(rng.poisson(frequency[kind]))):
            side = 1 if rng.random() < 0.5 else -1
            z = exp(rng.uniform(log(4.6), log(20 if kind == "pole" else 15)))
            x = side * (half + (0.45 if kind != "tree" else walk * 0.75))
            if everything.claim(x, z, 0.3, 0.3, 0.1):
                everything.add(z, partial(_post, stage, kind, x, z, side))


def _post(stage: Stage, kind: str, x: float, z: float, side: int) -> None:
    rng = stage.rng
    if kind == "pole":
        scenery.pole(
            stage,
            x,
            z,
            float(rng.uniform(4.5, 7.5)),
            arm=-side * float(rng.uniform(0.8, 1.6)) if rng.random() < 0.6 else 0.0,
        )
    elif kind == "traffic light":
        y = float(rng.uniform(2.3, 2.9))
        scenery.pole(stage, x, z, y + 1.0)
        scenery.traffic_light(stage, x, z, y, float(rng.uniform(1.0, 1.35)))
    elif kind == "traffic sign":
        y = float(rng.uniform(2.2, 2.7))
        scenery.pole(stage, x, z, y)
        scenery.traffic_sign(stage, x, z, y, float(rng.uniform(1.0, 1.5)))
    elif kind == "tree":
        scenery.tree(stage, x, z, float(rng.uniform(3.5, 6.5)), _species(stage))
    elif kind == "static":  # a bin
        stage.round_shadow(x, z, 0.5, 0.3)
        rgb = [(74, 78, 82), (62, 92, 70), (120, 104, 84)][int(rng.integers(3))]
        index = stage.new("static", z)
        stage.quad3([(x - 0.33, 0, z), (x - 0.38, 1.05, z), (x + 0.38, 1.05, z), (x + 0.33, 0, z)], rgb, index)
        stage.quad3(
            [(x - 0.42, 1.05, z), (x - 0.36, 1.2, z), (x + 0.36, 1.2, z), (x + 0.42, 1.05, z)], (44, 46, 50), index
        )
    else:  # a handcart
        index = stage.new("dynamic", z)
        rgb = (132, 118, 100)
        stage.quad3([(x - 0.6, 0.35, z), (x - 0.7, 0.8, z), (x + 0.6, 0.8, z), (x + 0.5, 0.35, z)], rgb, index)
        for dx in (-0.35, 0.3):
            cx, cy = stage.camera.project(x + dx, 0.22, z)
            r = 0.22 * stage.camera.scale(z)
            stage.ellipse(cx, cy, r, r, (40, 40, 42), index)


def _traffic(stage: Stage, everything: Arrangement, half: float, walk: float, gap: float | None, featured: str) -> None:
    """Paint vehicles in lanes, parked or crossing; people and bikes."""
    rng, frequency = stage.rng, stage.world.frequency

    def road(z: float) -> tuple[float, float]:
        return -half + 0.9, half - 0.9

    def pavement(z: float) -> tuple[float, float]:
        side = 1 if rng.random() < 0.5 else -1
        return tuple(sorted((side * (half + 0.5), side * (half + walk - 0.3))))  # type: ignore[return-value]

    for kind in ("bus", "truck", "motorcycle", "rider", "car", "person", "bicycle"):
        count = int(rng.poisson(frequency[kind])) + (kind == featured)
        for _ in range(count):
            if kind in ("car", "truck", "bus"):
                _vehicle(stage, everything, kind, half, gap)
            elif kind == "person":
                everything.scatter(kind, pavement if rng.random() < 0.75 else road, NEAREST, 16.0)
            elif kind == "rider":
                everything.scatter(kind, road, 4.6, 14.0, float(rng.uniform(-0.55, 0.55)))
            elif kind == "motorcycle":
                everything.scatter(
                    kind, road if rng.random() < 0.6 else pavement, 4.4, 12.0, float(rng.uniform(-0.6, 0.6))
                )
            else:
                everything.scatter(kind, pavement, 4.3, 11.0, float(rng.uniform(-0.6, 0.6)))
    if rng.random() < stage.world.crowds:
        kind = str(rng.choice(["person", "person", "bicycle", "car"]))
        side = 1 if rng.random() < 0.5 else -1
        if kind == "car":
            everything.crowd(kind, 4, side * half * 0.5, float(rng.uniform(24, 32)), half * 0.45)
        else:
            everything.crowd(
                kind, int(rng.integers(5, 9)), side * (half + walk / 2), float(rng.uniform(10, 17)), walk * 0.45
            )


def _vehicle(stage: Stage, everything: Arrangement, kind: str, half: float, gap: float | None) -> None:
    rng = stage.rng
    _, width, _ = stage.world.sizes[kind]
    nearest = 5.0 if kind == "car" else 7.0
    slot = rng.random()
    if gap is not None and slot < 0.4:
        yaw = float(rng.choice([-pi / 2, pi / 2])) + float(rng.uniform(-0.15, 0.15))
        z = gap + (1.7 if yaw > 0 else -1.7) - width / 2
        everything.scatter(kind, lambda _: (-1.1 * gap, 1.1 * gap), z, z + 0.05, yaw)
        return
    side = 1 if rng.random() < 0.5 else -1
    turn = float(rng.uniform(-0.12, 0.12)) + (float(rng.choice([-0.6, 0.6])) if slot > 0.9 else 0.0)
    heading = (0.0 if side > 0 else pi) + turn
    if slot < 0.68 and kind != "bus":  # parked at the kerb
        x = side * (half - 1.1)
        everything.scatter(kind, lambda _: (x - 0.1, x + 0.1), nearest, FARTHEST, heading)
    else:
        x = side * max(half * 0.42, width / 2 + 0.3)
        everything.scatter(kind, lambda _: (x - 0.4, x + 0.4), nearest, FARTHEST, heading)


def _hood(stage: Stage) -> None:
    """Paint the bonnet of the camera's own car, which annotations leave out."""
    w, h = stage.width, stage.height
    index = stage.new("ego vehicle", 1.0, contrast=0.02)
    grey = int(stage.rng.integers(28, 90))
    top = float(stage.rng.uniform(0.05, 0.085)) * h
    stage.ellipse(w / 2, h + 0.02 * h, 0.52 * w, top, (grey, grey, grey + 4), index)
    stage.ellipse(w / 2, h + 0.03 * h, 0.4 * w, top * 0.8, (grey + 26, grey + 28, grey + 34))
