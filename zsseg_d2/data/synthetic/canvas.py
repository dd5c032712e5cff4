"""The stage: a camera over a ground plane, a colour canvas and the index map painted along with it.

World coordinates are metres: X right, Y up from the ground, Z away from the camera.
Painting goes from far to near; what is painted later occludes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw

from .palette import RGB
from .textures import NAMES
from .world import Surface, World

SUPERSAMPLING = 2
NEAR = 0.6  # metres; nothing is drawn closer
Points = Sequence[tuple[float, float]]

_UNIT_CIRCLE = [(cos(2 * pi * k / 20), sin(2 * pi * k / 20)) for k in range(20)]
_TEXTURE_ID = {name: i for i, name in enumerate(NAMES)}


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without roll or pitch; `focal`, `cx`, `horizon` in pixels, `height` in metres."""

    focal: float
    cx: float
    horizon: float
    height: float

    def project(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Convert world metres to pixels."""
        z = max(z, NEAR)
        return self.cx + self.focal * x / z, self.horizon + self.focal * (self.height - y) / z

    def scale(self, z: float) -> float:
        """Return the pixels per metre at depth `z`."""
        return self.focal / max(z, NEAR)

    def ground_depth(self, row: float) -> float:
        """Return the depth in metres at which the ground meets pixel row `row` (below the horizon)."""
        return self.focal * self.height / max(row - self.horizon, 1e-3)


@dataclass
class Part:
    """What is known of an object while it is painted."""

    kind: str
    depth: float
    colour: str | None = None
    scale: float = 1.0  # pixels a metre times its own size factor: the apparent size
    crowd: bool = False
    texture: int = 0
    contrast: float = 0.05
    density: float = 32.0
    plane: str = "front"  # "front" faces the camera, "ground" lies, "side" stands along the street
    plane_x: float = 0.0  # X of a "side" plane
    roundness: float = 0.0  # brightness from the top to the bottom of the object
    offset: tuple[float, float] = (0.0, 0.0)


class Stage:
    """Canvas, camera, world and random numbers of one scene."""

    def __init__(self, world: World, rng: np.random.Generator, camera: Camera, height: int, width: int) -> None:
        self.world, self.rng, self.camera = world, rng, camera
        self.height, self.width = height, width
        size = (width * SUPERSAMPLING, height * SUPERSAMPLING)
        self.colour = Image.new("RGB", size, (128, 128, 128))
        self.ids = Image.new("I", size, 0)
        self._ink = ImageDraw.Draw(self.colour)
        self._id_ink = ImageDraw.Draw(self.ids)
        self.parts: list[Part] = [Part("", 1.0)]  # index 0: nothing was painted

    def new(self, kind: str, depth: float, surface: Surface | None = None, **attributes: object) -> int:
        """Register an object, and return its index."""
        part = Part(kind, depth, **attributes)  # type: ignore[arg-type]
        if surface is not None:
            part.texture, part.contrast = _TEXTURE_ID[surface.texture], surface.contrast
            part.density = surface.density
        part.offset = tuple(self.rng.uniform(0, 8, 2))
        self.parts.append(part)
        return len(self.parts) - 1

    def surface(self, kind: str) -> Surface:
        """Return one of the world's surfaces for `kind`, its colour slightly varied."""
        variants = self.world.surfaces[kind]
        chosen = variants[int(self.rng.integers(len(variants)))]
        jitter = self.rng.normal(0, 5) + self.rng.normal(0, 2.5, 3)
        rgb = tuple(int(np.clip(c + d, 0, 255)) for c, d in zip(chosen.rgb, jitter))
        return Surface(rgb, chosen.texture, chosen.contrast, chosen.density)  # type: ignore[arg-type]

    # Painting. `index` None leaves the index map alone (decoration inside an object).

    def polygon(self, points: Points, rgb: RGB | None, index: int | None = None) -> None:
        """Fill a polygon given in pixels; `rgb` None paints the index map only."""
        k = SUPERSAMPLING
        scaled = [(x * k, y * k) for x, y in points]
        if rgb is not None:
            self._ink.polygon(scaled, fill=rgb)
        if index is not None:
            self._id_ink.polygon(scaled, fill=index)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, rgb: RGB | None, index: int | None = None) -> None:
        """Fill an ellipse given in pixels."""
        k = SUPERSAMPLING
        box = ((cx - rx) * k, (cy - ry) * k, (cx + rx) * k, (cy + ry) * k)
        if rgb is not None:
            self._ink.ellipse(box, fill=rgb)
        if index is not None:
            self._id_ink.ellipse(box, fill=index)

    def line(self, points: Points, width: float, rgb: RGB | None, index: int | None = None) -> None:
        """Draw a stroke of `width` pixels."""
        k = SUPERSAMPLING
        scaled = [(x * k, y * k) for x, y in points]
        stroke = max(1, round(width * k))
        if rgb is not None:
            self._ink.line(scaled, fill=rgb, width=stroke, joint="curve")
        if index is not None:
            self._id_ink.line(scaled, fill=index, width=stroke, joint="curve")

    def quad3(self, corners: Sequence[tuple[float, float, float]], rgb: RGB | None, index: int | None = None) -> None:
        """Fill a polygon given in world metres."""
        self.polygon([self.camera.project(*p) for p in corners], rgb, index)

    def shadow(self, outline: Sequence[tuple[float, float]], strength: float = 0.5) -> None:
        """Darken the ground inside an outline given in (x, z) metres; the index map stays as it is."""
        k = SUPERSAMPLING
        points = [self.camera.project(x, 0, z) for x, z in outline]
        x0 = max(int(min(x for x, _ in points) * k), 0)
        y0 = max(int(min(y for _, y in points) * k), 0)
        x1 = min(int(max(x for x, _ in points) * k) + 2, self.colour.width)
        y1 = min(int(max(y for _, y in points) * k) + 2, self.colour.height)
        if x1 <= x0 or y1 <= y0:
            return
        mask = Image.new("L", (x1 - x0, y1 - y0), 0)
        ImageDraw.Draw(mask).polygon([(x * k - x0, y * k - y0) for x, y in points], fill=int(255 * strength))
        self.colour.paste((24, 24, 30), (x0, y0), mask)

    def round_shadow(self, x: float, z: float, rx: float, rz: float, strength: float = 0.5) -> None:
        """Draw an elliptic shadow with half axes `rx`, `rz` in metres."""
        self.shadow([(x + rx * c, z + rz * s) for c, s in _UNIT_CIRCLE], strength)


class Flat:
    """Draws in a vertical plane standing on the ground: local metres, u along the plane, v up.

    `yaw` turns the plane about the vertical; `flip` mirrors it.
    """

    def __init__(
        self,
        stage: Stage,
        x: float,
        z: float,
        index: int,
        size: float = 1.0,
        yaw: float = 0.0,
        flip: bool = False,
        y: float = 0.0,
    ) -> None:
        self.stage, self.index, self.size = stage, index, size
        self.x, self.z, self.y = x, z, y
        self.cos, self.sin = cos(yaw) * (-1 if flip else 1), sin(yaw)
        self.pixels = stage.camera.scale(z) * size

    def at(self, u: float, v: float) -> tuple[float, float]:
        """Convert local metres to pixels."""
        u, v = u * self.size, v * self.size
        return self.stage.camera.project(self.x + u * self.cos, self.y + v, self.z + u * self.sin)

    def polygon(self, points: Points, rgb: RGB | None, solid: bool = True) -> None:
        """Fill a polygon; `solid` False is decoration that does not touch the index map."""
        self.stage.polygon([self.at(u, v) for u, v in points], rgb, self.index if solid else None)

    def oval(self, u: float, v: float, ru: float, rv: float, rgb: RGB | None, solid: bool = True) -> None:
        """Fill an ellipse with half axes `ru`, `rv`."""
        self.polygon([(u + ru * c, v + rv * s) for c, s in _UNIT_CIRCLE], rgb, solid)

    def stroke(self, points: Points, width: float, rgb: RGB | None, solid: bool = True) -> None:
        """Draw a line of `width` metres with round ends."""
        pixels = [self.at(u, v) for u, v in points]
        index = self.index if solid else None
        w = max(width * self.pixels, 0.75)
        self.stage.line(pixels, w, rgb, index)
        if w > 2.5:
            for x, y in (pixels[0], pixels[-1]):
                self.stage.ellipse(x, y, w / 2, w / 2, rgb, index)

    def ring(self, u: float, v: float, radius: float, width: float, rgb: RGB) -> None:
        """Draw a circle line; its whole disc belongs to the object."""
        self.oval(u, v, radius, radius, None)
        points = [(u + radius * c, v + radius * s) for c, s in _UNIT_CIRCLE]
        self.stroke(points + points[:2], width, rgb)
