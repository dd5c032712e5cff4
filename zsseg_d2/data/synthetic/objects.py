"""Placing an object of any kind on the stage: its colour, its shadow, its painting."""

from __future__ import annotations

from math import cos, pi, sin

from .canvas import Flat, Stage
from .figures import BUILDS, animal, bicycle, motorcycle, person, rider
from .palette import RGB, shade
from .props import FLAT_PROPS, SOLID_PROPS
from .solids import paint
from .vehicles import VEHICLES
from .world import Surface

# Half length and half depth of the footprint in metres, for shadows and for keeping objects apart.
_FOOTPRINTS: dict[str, tuple[float, float]] = {
    "person": (0.35, 0.3),
    "rider": (1.0, 0.4),
    "bicycle": (0.9, 0.35),
    "motorcycle": (1.1, 0.4),
    "dog": (0.5, 0.25),
    "sheep": (0.7, 0.35),
    "cow": (1.2, 0.45),
    "horse": (1.2, 0.45),
    "boat": (2.4, 0.8),
    "airplane": (3.5, 1.0),
    "kite": (1.0, 0.3),
    "ball": (0.4, 0.4),
    "bench": (1.0, 0.4),
    "umbrella": (1.2, 0.8),
    "traffic cone": (0.35, 0.3),
    "fire hydrant": (0.3, 0.3),
    "box": (0.6, 0.6),
    "table": (0.9, 0.7),
    "tent": (1.6, 1.4),
}
_AIRBORNE = ("kite", "airplane")
_WOVEN = Surface((0, 0, 0), "cloth", 0.09, 48.0)
_SMOOTH = Surface((0, 0, 0), "fine", 0.03, 24.0)


def footprint(stage: Stage, kind: str, yaw: float) -> tuple[float, float]:
    """Return the half extents in metres along X and Z of an object of `kind` turned by `yaw`."""
    if kind in VEHICLES:
        length, width, _ = stage.world.sizes[kind]
        c, s = abs(cos(yaw)), abs(sin(yaw))
        return (length * s + width * c) / 2, (length * c + width * s) / 2
    return _FOOTPRINTS[kind]


def _cast_shadow(stage: Stage, kind: str, x: float, z: float, yaw: float, size: float) -> None:
    if kind in VEHICLES:
        length, width, _ = stage.world.sizes[kind]
        c, s, half, wide = cos(yaw), sin(yaw), length / 2 * 1.02, width / 2 * 1.25
        corners = ((-half, -wide), (half, -wide), (half, wide), (-half, wide))
        stage.shadow([(x + l * s - w * c, z + l * c + w * s) for l, w in corners], 0.6)
    else:
        rx, rz = footprint(stage, kind, yaw)
        stage.round_shadow(x, z, rx * 1.1 * size, max(rz * 1.15, 0.25) * size)


def choose_colour(stage: Stage, kind: str) -> tuple[str, RGB]:
    """Return a named colour by the world's frequencies for `kind`, and a shade of it."""
    table = stage.world.colours.get(kind) or stage.world.colours[""]
    names = list(table)
    total = sum(table.values())
    name = names[int(stage.rng.choice(len(names), p=[table[n] / total for n in names]))]
    return name, shade(stage.world.palette[name], float(stage.rng.uniform(0.92, 1.08)))


def place(
    stage: Stage,
    kind: str,
    x: float,
    z: float,
    *,
    yaw: float | None = None,
    size: float | None = None,
    y: float = 0.0,
    crowd: int | None = None,
    shadow: bool = True,
) -> int:
    """Paint one object standing at (x, z) metres, and return its index.

    Args:
        yaw: heading of solids (0 away, pi towards the camera, pi/2 to the right), turn of flat figures.
        size: factor on its natural size; drawn at random if None.
        y: height of its base above the ground.
        crowd: index of a crowd that it joins instead of becoming an object of its own.
    """
    rng = stage.rng
    size = float(rng.uniform(0.92, 1.1)) if size is None else size
    flip = bool(rng.random() < 0.5)
    if kind in ("bicycle", "motorcycle") and yaw is None:
        yaw = float(rng.uniform(-0.5, 0.5))
    elif yaw is None:
        yaw = float(rng.uniform(0, 2 * pi)) if kind in VEHICLES or kind in SOLID_PROPS else 0.0
    name, rgb = choose_colour(stage, kind)
    if crowd is None:
        woven = kind in ("person", "rider", "sheep", "tent")
        index = stage.new(kind, z, _WOVEN if woven else _SMOOTH, colour=name, scale=stage.camera.scale(z) * size)
        stage.parts[index].roundness = 0.12 if kind in VEHICLES else 0.2
    else:
        index = crowd
    if shadow and kind not in _AIRBORNE:
        _cast_shadow(stage, kind, x, z, yaw, size)
    if kind in VEHICLES:
        solids = VEHICLES[kind](stage.world, rng, rgb)
        if kind == "train":  # its coaches occlude each other along the track
            solids.sort(key=lambda coach: -cos(yaw) * coach.left.points[2][0])
        paint(stage, index, solids, x, z, yaw, y)
    elif kind in SOLID_PROPS:
        SOLID_PROPS[kind](stage, index, x, z, yaw, size, rgb)
    else:
        flat = Flat(stage, x, z, index, size, yaw, flip, y)
        if kind == "person":
            person(flat, rng, rgb, stage.world.trousers)
        elif kind == "bicycle":
            bicycle(flat, rng, rgb)
        elif kind == "motorcycle":
            motorcycle(flat, rng, rgb)
        elif kind in BUILDS:
            animal(flat, rng, rgb, kind)
        else:
            FLAT_PROPS[kind](flat, rng, rgb)
    return index


def place_rider(stage: Stage, bike: str, x: float, z: float, yaw: float | None = None) -> tuple[int, int]:
    """Paint a bike and the rider on it, two objects, and return their indices (bike, rider)."""
    rng = stage.rng
    size, flip = float(rng.uniform(0.95, 1.1)), bool(rng.random() < 0.5)
    yaw = float(rng.uniform(-0.5, 0.5)) if yaw is None else yaw
    stage.round_shadow(x, z, 1.1 * size, 0.4)
    indices = []
    for kind in (bike, "rider"):
        name, rgb = choose_colour(stage, kind)
        surface = _WOVEN if kind == "rider" else _SMOOTH
        index = stage.new(kind, z, surface, colour=name, scale=stage.camera.scale(z) * size, roundness=0.1)
        flat = Flat(stage, x, z, index, size, yaw, flip)
        if kind == "rider":
            rider(flat, rng, rgb, stage.world.trousers, bike == "motorcycle")
        else:
            (motorcycle if bike == "motorcycle" else bicycle)(flat, rng, rgb)
        indices.append(index)
    return indices[0], indices[1]
