"""The pre-training world's open layouts: country, plaza, park, harbour, beach, snow, and single objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import cos, exp, log, pi, sin

from . import scenery
from .arrangement import Arrangement
from .canvas import Stage
from .objects import place


@dataclass(frozen=True)
class Place:
    """A kind of open scene: what closes it, what covers its ground, what stands there and how often."""

    ground: tuple[str, ...]
    backdrop: tuple[str, ...]
    things: Mapping[str, float]
    count: tuple[int, int]
    patches: Mapping[str, float]  # ground patches: probability of each
    fixtures: Mapping[str, float]  # expected number of trees, poles, fences …
    road: float = 0.0  # probability of a road across the image
    airborne: float = 0.0


PLACES: dict[str, Place] = {
    "country": Place(
        ("grass",),
        ("mountain", "trees", "houses"),
        {"cow": 1.6, "horse": 1.2, "sheep": 1.6, "dog": 0.3, "person": 0.6, "bicycle": 0.4, "motorcycle": 0.3},
        (2, 6),
        {"dirt": 0.3, "water": 0.15},
        {"tree": 2.0, "fence": 0.7, "wall": 0.3, "pole": 0.7, "sign": 0.4},
        road=0.8,
    ),
    "plaza": Place(
        ("sidewalk",),
        ("houses", "houses", "wall"),
        {
            "person": 2.5,
            "bench": 1,
            "umbrella": 1,
            "table": 1.2,
            "dog": 0.6,
            "bicycle": 1.2,
            "motorcycle": 0.6,
            "traffic cone": 0.8,
            "ball": 0.5,
            "box": 0.5,
            "fire hydrant": 0.6,
            "bus": 0.3,
            "car": 0.5,
        },
        (5, 11),
        {"grass": 0.3, "water": 0.15},
        {"tree": 0.8, "pole": 1.0, "sign": 0.6, "light": 0.5, "fence": 0.3},
    ),
    "park": Place(
        ("grass",),
        ("trees", "trees", "houses"),
        {
            "person": 2,
            "dog": 1.5,
            "bench": 1.2,
            "kite": 0.4,
            "ball": 0.8,
            "tent": 0.6,
            "table": 0.5,
            "bicycle": 1.0,
            "umbrella": 0.4,
        },
        (4, 9),
        {"sidewalk": 0.5, "water": 0.4, "dirt": 0.2},
        {"tree": 2.5, "pole": 0.5, "fence": 0.4, "sign": 0.2},
        airborne=0.4,
    ),
    "harbour": Place(
        ("sidewalk", "gravel"),
        ("sea",),
        {
            "boat": 5.0,
            "box": 1.5,
            "person": 1.5,
            "truck": 1.0,
            "car": 0.5,
            "traffic cone": 0.8,
            "bicycle": 0.5,
            "bench": 0.5,
        },
        (6, 12),
        {},
        {"pole": 0.8, "fence": 0.4, "wall": 0.3, "light": 0.2},
        airborne=0.3,
    ),
    "beach": Place(
        ("sand",),
        ("sea",),
        {
            "person": 2,
            "umbrella": 1.5,
            "ball": 0.8,
            "kite": 0.8,
            "boat": 1.6,
            "dog": 0.7,
            "horse": 0.4,
            "tent": 0.5,
            "table": 0.3,
        },
        (4, 9),
        {"grass": 0.15},
        {"palm": 0.8},
        airborne=0.8,
    ),
    "snow": Place(
        ("snow",),
        ("mountain", "conifers"),
        {
            "person": 1.5,
            "dog": 0.8,
            "tent": 0.7,
            "horse": 0.4,
            "sheep": 0.3,
            "box": 0.4,
            "car": 0.4,
            "truck": 0.4,
            "bus": 0.3,
        },
        (2, 6),
        {"water": 0.2},
        {"conifer": 2.0, "fence": 0.5, "pole": 0.5, "sign": 0.2},
        road=0.4,
    ),
}

# Single objects stand before any ground and backdrop that go together.
_STUDIO_GROUNDS = ("grass", "sidewalk", "road", "sand", "gravel", "snow", "dirt")
_STUDIO_BACKDROPS = ("wall", "trees", "houses", "fence", "mountain", "sea")


def open_place(stage: Stage, seed: int, name: str) -> None:
    """Paint an open scene of the kind `name` in `PLACES`."""
    del seed
    rng, spec, everything = stage.rng, PLACES[name], Arrangement(stage)
    scenery.sky(stage)
    edge = _backdrop(stage, str(rng.choice(spec.backdrop)))
    ground = str(rng.choice(spec.ground))
    _cover(stage, ground, edge)
    road = None
    if rng.random() < spec.road:
        near = float(rng.uniform(6.5, 9.5))
        road = (near, near + float(rng.uniform(4.0, 5.5)))
        _road_across(stage, everything, road)
    for kind, chance in spec.patches.items():
        if rng.random() < chance and road is None:
            _patch(stage, kind, edge)
    if edge > 40:
        _fixtures(stage, everything, spec.fixtures, road)
    kinds = [k for k in spec.things if k not in ("kite", "airplane")]
    weights = [spec.things[k] for k in kinds]
    for _ in range(int(rng.integers(*spec.count))):
        kind = str(rng.choice(kinds, p=[w / sum(weights) for w in weights]))
        if kind == "boat":
            z = float(rng.uniform(edge + 2, edge + 10)) if edge < 40 else 20.0
            x = float(rng.uniform(-0.7, 0.7)) * z
            if everything.claim(x, z, 2.5, 1.0):
                everything.add(
                    z, partial(place, stage, "boat", x, z, size=float(rng.uniform(0.9, 1.6)), y=-0.2, shadow=False)
                )
            continue
        solid = kind in ("car", "truck", "bus")
        far = min(edge - 1.5, 10.0 if not solid else 16.0)
        near = 6.0 if solid else 3.6
        everything.scatter(
            kind,
            lambda z: (-0.75 * z, 0.75 * z),
            near,
            max(far, near + 1),
            float(rng.uniform(0, 2 * pi)) if solid else None,
        )
    everything.paint()
    if rng.random() < spec.airborne:
        _airborne(stage, ("kite", "airplane") if "kite" in spec.things else ("airplane",))


def studio(stage: Stage, seed: int) -> None:
    """Paint one to three large objects of kinds that take turns by seed."""
    rng, everything = stage.rng, Arrangement(stage)
    kinds = [c.name for c in stage.world.categories if c.isthing and c.name not in ("traffic light", "traffic sign")]
    scenery.sky(stage)
    edge = _backdrop(stage, str(rng.choice(_STUDIO_BACKDROPS)), near=True)
    _cover(stage, str(rng.choice(_STUDIO_GROUNDS)), edge)
    for k in range(int(rng.integers(1, 5))):
        kind = kinds[(seed + 7 * k) % len(kinds)] if k < 2 else str(rng.choice(kinds))
        if kind in ("airplane", "kite"):
            _airborne(stage, (kind,))
            continue
        if kind == "boat" and edge > 30:
            continue
        if kind == "boat":
            z = edge + float(rng.uniform(2, 6))
            everything.add(
                z, partial(place, stage, "boat", float(rng.uniform(-0.5, 0.5)) * z, z, size=1.3, y=-0.2, shadow=False)
            )
            continue
        big = kind in ("car", "truck", "bus", "train")
        near = {"car": 5.0, "truck": 6.5, "bus": 7.0, "train": 8.0}.get(kind, 3.2)
        yaw = None
        if kind == "train":
            yaw = float(rng.choice([-1, 1])) * (pi / 2 + float(rng.uniform(-0.35, 0.35)))
        everything.scatter(kind, lambda z: (-0.5 * z, 0.5 * z), near, near + (4 if big else 3), yaw)
    if rng.random() < 0.3:
        z = float(rng.uniform(4, 8))
        x = float(rng.uniform(-0.6, 0.6)) * z
        everything.add(z, partial(_mast, stage, str(rng.choice(["light", "sign"])), x, z))
    everything.paint()


def _backdrop(stage: Stage, kind: str, near: bool = False) -> float:
    """Paint what stands at the end of the ground, and return the depth in metres at which the ground ends."""
    rng = stage.rng
    z = float(rng.uniform(13, 20)) if near else float(rng.uniform(18, 26))
    reach = z * 1.3
    if kind == "mountain":
        scenery.treeline(stage, 200, float(rng.uniform(25, 55)), -260, 260, "mountain")
        return 200.0
    if kind in ("trees", "conifers"):
        scenery.treeline(stage, z + 20, float(rng.uniform(6, 11)), -2.6 * z, 2.6 * z)
        if kind == "conifers":
            for _ in range(14):
                scenery.tree(stage, float(rng.uniform(-1.6, 1.6)) * z, z + 15, float(rng.uniform(7, 13)), "conifer")
        return z + 20
    if kind == "sea":
        scenery.ground(stage, "water")
        return float(rng.uniform(11, 15))
    if kind == "wall":
        if rng.random() < 0.5:
            scenery.treeline(stage, z + 25, float(rng.uniform(7, 12)), -3 * z, 3 * z)
        scenery.wall_front(stage, -reach, reach, z, float(rng.uniform(2.4, 6)))
        return z
    if kind == "fence":
        scenery.treeline(stage, z + 25, float(rng.uniform(5, 9)), -3 * z, 3 * z)
        scenery.ground(stage, "grass")
        scenery.fence_front(stage, -reach, reach, z, float(rng.uniform(1.6, 2.6)))
        return z
    x = -reach
    while x < reach:
        width = float(rng.uniform(5, 12))
        scenery.house_front(stage, x, x + width, z, float(rng.uniform(4, 13)), rng.random() < 0.5)
        x += width + float(rng.choice([0.0, 0.0, 2.0]))
    return z


def _cover(stage: Stage, kind: str, edge: float) -> None:
    """Cover the ground up to `edge` metres."""
    reach = edge * 1.5 + 10
    scenery.ground(stage, kind, [(-reach, 0.7), (reach, 0.7), (reach, edge), (-reach, edge)])


def _patch(stage: Stage, kind: str, edge: float) -> None:
    """Paint a pond, lawn or path with a curved outline."""
    rng = stage.rng
    z = float(rng.uniform(6, min(edge - 2, 14))) if edge > 9 else 6.0
    x, rx, rz = float(rng.uniform(-0.6, 0.6)) * z, float(rng.uniform(3, 8)), float(rng.uniform(1.2, 3.2))
    if kind in ("sidewalk", "dirt") and rng.random() < 0.6:  # a path leading away
        scenery.ground(stage, kind, [(x - 1.4, 0.8), (x + 1.4, 0.8), (x * 0.3 + 1.2, edge), (x * 0.3 - 1.2, edge)])
        return
    rz = min(rz, z - 1.5)
    scenery.ground(stage, kind, [(x + rx * cos(a * pi / 12), z + rz * sin(a * pi / 12)) for a in range(24)])


def _road_across(stage: Stage, everything: Arrangement, road: tuple[float, float]) -> None:
    """Paint a road from left to right with vehicles on it."""
    rng = stage.rng
    near, far = road
    scenery.ground(stage, "road", [(-60, near), (60, near), (60, far), (-60, far)])
    middle = (near + far) / 2
    for k in range(-14, 14):
        stage.quad3(
            [
                (2.5 * k, 0, middle - 0.08),
                (2.5 * k + 1.3, 0, middle - 0.08),
                (2.5 * k + 1.3, 0, middle + 0.08),
                (2.5 * k, 0, middle + 0.08),
            ],
            (236, 232, 214),
        )
    kinds = ("car", "truck", "bus", "motorcycle", "train", "rider")
    for _ in range(int(rng.integers(1, 5))):
        kind = str(rng.choice(kinds, p=[0.42, 0.16, 0.14, 0.1, 0.06, 0.12]))
        back = rng.random() < 0.5
        z = (middle + 0.2) if back else near + 0.2
        yaw = (pi / 2 if back else -pi / 2) + float(rng.uniform(-0.12, 0.12))
        if kind in ("motorcycle", "rider"):
            yaw = float(rng.uniform(-0.3, 0.3))
        everything.scatter(kind, lambda depth: (-0.75 * depth, 0.75 * depth), z, z + 0.3, yaw)


def _fixtures(
    stage: Stage, everything: Arrangement, fixtures: Mapping[str, float], road: tuple[float, float] | None
) -> None:
    rng = stage.rng
    for kind, expected in fixtures.items():
        for _ in range(int(rng.poisson(expected))):
            z = exp(rng.uniform(log(6), log(22)))
            if road is not None and road[0] - 0.5 < z < road[1] + 0.5:
                z = road[1] + float(rng.uniform(1, 8))
            x = float(rng.uniform(-0.85, 0.85)) * z
            if kind in ("fence", "wall"):
                z = max(z, 11.0 if road is None else road[1] + 1.0)
                span = float(rng.uniform(6, 22))
                draw = scenery.fence_front if kind == "fence" else scenery.wall_front
                everything.add(z, partial(draw, stage, x - span / 2, x + span / 2, z, float(rng.uniform(1.1, 2.0))))
            elif everything.claim(x, z, 0.4, 0.4):
                everything.add(z, partial(_mast, stage, kind, x, z))


def _mast(stage: Stage, kind: str, x: float, z: float) -> None:
    rng = stage.rng
    if kind in ("tree", "palm", "conifer"):
        species = {"palm": "palm", "conifer": "conifer"}.get(kind, str(rng.choice(["broad", "broad", "conifer"])))
        stage.round_shadow(x, z, 1.2, 0.6, 0.4)
        scenery.tree(stage, x, z, float(rng.uniform(3, 7)), species)
    elif kind == "pole":
        scenery.pole(stage, x, z, float(rng.uniform(3.5, 6)), float(rng.choice([-1, 0, 1])))
    elif kind == "light":
        scenery.pole(stage, x, z, 3.2)
        scenery.traffic_light(stage, x, z, 2.3, 1.2)
    else:
        scenery.pole(stage, x, z, 2.2)
        scenery.traffic_sign(stage, x, z, 2.2, float(rng.uniform(1.0, 1.4)))


def _airborne(stage: Stage, kinds: tuple[str, ...]) -> None:
    rng = stage.rng
    for _ in range(int(rng.integers(1, 3))):
        kind = str(rng.choice(kinds))
        z = float(rng.uniform(12, 20)) if kind == "airplane" else float(rng.uniform(7, 11))
        row = float(rng.uniform(0.15, 0.75)) * stage.camera.horizon
        y = stage.camera.height + (stage.camera.horizon - row) * z / stage.camera.focal
        place(
            stage,
            kind,
            float(rng.uniform(-0.7, 0.7)) * z,
            z,
            y=y - 0.3,
            yaw=float(rng.uniform(-0.4, 0.4)),
            shadow=False,
        )
