"""Cars, trucks, buses and trains as solids."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .palette import RGB, mix, shade
from .solids import Prism, box, prism
from .world import World

TYRE: RGB = (26, 26, 28)
HUB: RGB = (150, 150, 152)
LAMP_FRONT: RGB = (250, 244, 214)
LAMP_REAR: RGB = (214, 22, 26)
PLATE: RGB = (236, 232, 200)


def _pick(rng: np.random.Generator, options: tuple[RGB, ...]) -> RGB:
    return options[int(rng.integers(len(options)))]


def _wheels(body: Prism, positions: tuple[float, ...], radius: float) -> None:
    for l in positions:
        body.disc_sides(l, radius, radius, TYRE)
        body.disc_sides(l, radius, radius * 0.55, HUB)


def _ends(body: Prism, rear: int, front: int, bottom: float, height: float) -> None:
    """Paint lamps, number plates and the tyres seen below the body; `bottom`, `height` of the end faces."""
    under = -bottom / height
    for edge, lamp, down in ((rear, LAMP_REAR, 0), (front, LAMP_FRONT, 1)):

        def t(v: float, down: int = down) -> float:  # the front edge runs from top to bottom
            return 1 - v if down else v

        for side in (-1, 1):
            body.decal_edge(edge, (side * 0.92, t(under), side * 0.62, t(0.1)), TYRE)
            body.decal_edge(edge, (side * 0.94, t(0.52), side * 0.66, t(0.8)), lamp)
        body.decal_edge(edge, (-0.9, t(0.02), 0.9, t(0.2)), (52, 52, 56))
        body.decal_edge(edge, (-0.25, t(0.22), 0.25, t(0.42)), PLATE)


def car(world: World, rng: np.random.Generator, rgb: RGB) -> list[Prism]:
    """Build a body, a narrower cabin with windows, four wheels."""
    length, width, height = (d * rng.uniform(0.95, 1.06) for d in world.sizes["car"])
    glass = _pick(rng, world.glass)
    belt, low = 0.60 * height, 0.2 * height
    h = length / 2
    body = prism([(-h, low), (-h * 0.98, belt), (0.45 * h, belt), (0.95 * h, belt * 0.86), (h, low)], width, rgb)
    _ends(body, 0, 3, low, belt - low)
    body.decal_sides([(-h, low), (h, low), (h, low * 1.5), (-h, low * 1.5)], shade(rgb, 0.6))
    _wheels(body, (-0.6 * h, 0.6 * h), 0.24 * height)
    back = rng.choice([-0.95, -0.7, -0.62])  # estate, hatchback, saloon
    roof0, roof1, front = back * 0.86 * h, 0.1 * h, 0.48 * h
    cabin = prism(
        [(back * h, belt), (roof0, height), (roof1, height), (front, belt)], width * 0.88, rgb, {0: glass, 2: glass}
    )
    for side in (-1, 1):  # pillars in the body's colour next to both windscreens
        for edge in (0, 2):
            cabin.decal_edge(edge, (side, 0, side * 0.88, 1), rgb)
    y0, y1 = belt + 0.02, height * 0.94
    middle = (roof0 + roof1) / 2 + 0.1
    cabin.decal_sides([(back * h * 0.93, y0), (roof0 * 0.97, y1), (middle - 0.07, y1), (middle - 0.07, y0)], glass)
    cabin.decal_sides([(middle + 0.07, y0), (middle + 0.07, y1), (roof1 * 0.98, y1), (front * 0.84, y0)], glass)
    return [body, cabin]


def truck(world: World, rng: np.random.Generator, rgb: RGB) -> list[Prism]:
    """Build a tall cargo box (it carries the colour) behind a lower cab, on a dark chassis."""
    length, width, height = (d * rng.uniform(0.95, 1.06) for d in world.sizes["truck"])
    glass = _pick(rng, world.glass)
    h, cab_length = length / 2, 0.26 * length
    cab_rgb = rgb if rng.random() < 0.55 else (222, 222, 218)
    chassis = box(-h, h, 0.3, 0.75, width * 0.9, (48, 48, 52))
    _wheels(chassis, (-0.72 * h, -0.42 * h, 0.68 * h), 0.5)
    for side in (-1, 1):
        chassis.decal_edge(0, (side * 0.98, -0.65, side * 0.6, 0.4), TYRE)
        chassis.decal_edge(2, (side * 0.98, 1.65, side * 0.6, 0.6), TYRE)
        chassis.decal_edge(0, (side * 0.95, 0.45, side * 0.7, 0.95), LAMP_REAR)
    cargo = box(-h, h - cab_length - 0.12, 0.72, height, width, rgb)
    line = shade(rgb, 0.72)
    for l in np.linspace(-h, h - cab_length - 0.12, 5)[1:-1]:
        cargo.decal_sides([(l - 0.05, 0.75), (l + 0.05, 0.75), (l + 0.05, height), (l - 0.05, height)], line)
    cargo.decal_edge(0, (-0.03, 0.03, 0.03, 0.97), line)  # rear doors
    cargo.decal_edge(0, (-0.95, 0.03, 0.95, 0.07), line)
    top = 0.74 * height
    cab = prism(
        [(h - cab_length, 0.5), (h - cab_length, top), (h - 0.3, top), (h, 0.55 * top), (h, 0.5)],
        width * 0.96,
        cab_rgb,
        {2: glass},
    )
    y0, y1 = 0.56 * top, 0.92 * top
    cab.decal_sides([(h - cab_length * 0.75, y0), (h - cab_length * 0.75, y1), (h - 0.36, y1), (h - 0.12, y0)], glass)
    for side in (-1, 1):
        cab.decal_edge(3, (side * 0.9, 0.6, side * 0.6, 0.85), LAMP_FRONT)
    cab.decal_edge(3, (-0.55, 0.25, 0.55, 0.8), (60, 60, 64))
    return [chassis, cargo, cab]


def bus(world: World, rng: np.random.Generator, rgb: RGB) -> list[Prism]:
    """Build a tall box with a row of windows, doors, a windscreen and a destination board."""
    length, width, height = (d * rng.uniform(0.95, 1.06) for d in world.sizes["bus"])
    glass = _pick(rng, world.glass)
    h, low = length / 2, 0.32
    body = box(-h, h, low, height, width, rgb, {1: mix(rgb, (255, 255, 255), 0.25)})
    y0, y1 = 0.50 * height, 0.83 * height
    count = max(3, round(length / 1.5))
    step = length * 0.94 / count
    for k in range(count):
        l = -0.47 * length + k * step
        body.decal_sides([(l + 0.1, y0), (l + 0.1, y1), (l + step - 0.1, y1), (l + step - 0.1, y0)], glass)
    for l in (0.32 * length, -0.1 * length):
        body.decal_sides([(l, low), (l, y1), (l + 0.95, y1), (l + 0.95, low)], shade(glass, 0.8))
    band = mix(rgb, (255, 255, 255), 0.6) if sum(rgb) < 500 else mix(rgb, (40, 60, 120), 0.6)
    body.decal_sides([(-h, 0.40 * height), (h, 0.40 * height), (h, 0.44 * height), (-h, 0.44 * height)], band)
    body.decal_edge(0, (-0.8, 0.5, 0.8, 0.8), glass)
    body.decal_edge(2, (-0.9, 0.62, 0.9, 0.2), glass)
    body.decal_edge(2, (-0.6, 0.15, 0.6, 0.05), (250, 190, 60))
    body.decal_edge(0, (-0.5, 0.85, 0.5, 0.94), (250, 190, 60))
    for side in (-1, 1):
        body.decal_edge(0, (side * 0.95, 0.12, side * 0.75, 0.3), LAMP_REAR)
        body.decal_edge(2, (side * 0.92, 0.88, side * 0.68, 0.76), LAMP_FRONT)
        body.decal_edge(0, (side * 0.9, -low / (height - low), side * 0.6, 0.04), TYRE)
        body.decal_edge(2, (side * 0.9, 1 + low / (height - low), side * 0.6, 0.96), TYRE)
    _wheels(body, (-0.3 * length, 0.3 * length), 0.5)
    return [body]


def train(world: World, rng: np.random.Generator, rgb: RGB) -> list[Prism]:
    """Build coupled coaches with a window band, a contrasting stripe and a sloped, dark-eyed nose."""
    length, width, height = world.sizes["train"]
    glass = _pick(rng, world.glass)
    coaches = 3
    each = length / coaches
    stripe = (240, 236, 224) if sum(rgb) < 520 else (176, 40, 48)
    y0, y1 = 0.52 * height, 0.78 * height
    solids = []
    for k in range(coaches):
        l0, l1 = -length / 2 + k * each + 0.15, -length / 2 + (k + 1) * each - 0.15
        nose0, nose1 = 0.9 * (k == 0), 0.9 * (k == coaches - 1)
        coach = prism(
            [(l0, 0.3), (l0, 0.5 * height), (l0 + nose0, height), (l1 - nose1, height), (l1, 0.5 * height), (l1, 0.3)],
            width,
            rgb,
            {2: (92, 94, 98), 1: glass if nose0 else rgb, 3: glass if nose1 else rgb},
        )
        coach.decal_sides([(l0, 0.3), (l1, 0.3), (l1, 0.62), (l0, 0.62)], (58, 58, 62))
        coach.decal_sides([(l0, 0.36 * height), (l1, 0.36 * height), (l1, 0.44 * height), (l0, 0.44 * height)], stripe)
        a, b = l0 + 0.3 + nose0, l1 - 0.3 - nose1
        for m in np.linspace(a, b, 5)[:-1]:
            step = (b - a) / 4
            coach.decal_sides([(m + 0.12, y0), (m + 0.12, y1), (m + step - 0.12, y1), (m + step - 0.12, y0)], glass)
        for l in np.linspace(l0 + 0.7, l1 - 0.7, 4):
            coach.disc_sides(float(l), 0.3, 0.3, TYRE)
        for edge, t in ((0, 0.5), (4, 0.5)):
            for side in (-1, 1):
                coach.decal_edge(edge, (side * 0.85, t - 0.1, side * 0.6, t + 0.15), LAMP_FRONT)
            coach.decal_edge(edge, (-1, 0.72, 1, 0.92) if edge == 0 else (-1, 0.28, 1, 0.08), stripe)
        solids.append(coach)
    return solids


VEHICLES: dict[str, Callable[[World, np.random.Generator, RGB], list[Prism]]] = {
    "car": car,
    "truck": truck,
    "bus": bus,
    "train": train,
}
