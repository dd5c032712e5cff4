"""Small solid models: prisms of coloured faces with decals, turned, projected and painted far to near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import cos, pi, sin

from .canvas import Stage
from .palette import RGB, shade

Point3 = tuple[float, float, float]  # l forward, w to the left, y up; metres
_CIRCLE = [(cos(2 * pi * k / 16), sin(2 * pi * k / 16)) for k in range(16)]


@dataclass
class Face:
    """A planar face with its outward normal and the decals painted upon it."""

    points: list[Point3]
    normal: Point3
    rgb: RGB
    decals: list[tuple[list[Point3], RGB]] = field(default_factory=list)


@dataclass
class Prism:
    """A profile in the (l, y) plane, given counterclockwise from the rear bottom, extruded over w."""

    faces: list[Face]
    left: Face
    right: Face
    half_width: float

    def decal_sides(self, points: Sequence[tuple[float, float]], rgb: RGB) -> None:
        """Paint the (l, y) polygon on both long sides."""
        for face, w in ((self.left, self.half_width), (self.right, -self.half_width)):
            face.decals.append(([(l, w, y) for l, y in points], rgb))

    def disc_sides(self, l: float, y: float, radius: float, rgb: RGB) -> None:
        """Paint a disc (a wheel) on both long sides."""
        self.decal_sides([(l + radius * c, y + radius * s) for c, s in _CIRCLE], rgb)

    def decal_edge(self, edge: int, box: tuple[float, float, float, float], rgb: RGB) -> None:
        """Paint a rectangle (w0, t0, w1, t1) on the face of a profile edge.

        w in units of the half width (-1 to 1), t from 0 to 1 along the edge (outside: beyond it).
        """
        face = self.faces[edge]
        (l0, _, y0), (l1, _, y1) = face.points[0], face.points[2]
        w0, t0, w1, t1 = box
        corners = ((w0, t0), (w1, t0), (w1, t1), (w0, t1))
        face.decals.append(([(l0 + (l1 - l0) * t, w * self.half_width, y0 + (y1 - y0) * t) for w, t in corners], rgb))


def prism(profile: Sequence[tuple[float, float]], width: float, rgb: RGB, edges: dict[int, RGB] | None = None) -> Prism:
    """Extrude `profile` (rear bottom first, over the top to the front bottom) to `width`.

    `edges` gives single profile edges another colour.
    """
    h = width / 2
    faces = []
    for i, ((l0, y0), (l1, y1)) in enumerate(zip(profile, [*profile[1:], profile[0]])):
        length = max(((l1 - l0) ** 2 + (y1 - y0) ** 2) ** 0.5, 1e-6)
        normal = (-(y1 - y0) / length, 0.0, (l1 - l0) / length)
        points = [(l0, -h, y0), (l0, h, y0), (l1, h, y1), (l1, -h, y1)]
        faces.append(Face(points, normal, (edges or {}).get(i, rgb)))
    left = Face([(l, h, y) for l, y in profile], (0, 1, 0), rgb)
    right = Face([(l, -h, y) for l, y in profile], (0, -1, 0), rgb)
    return Prism(faces, left, right, h)


def box(
    l0: float, l1: float, y0: float, y1: float, width: float, rgb: RGB, edges: dict[int, RGB] | None = None
) -> Prism:
    """Build a cuboid; edges: 0 rear, 1 top, 2 front, 3 bottom."""
    return prism([(l0, y0), (l0, y1), (l1, y1), (l1, y0)], width, rgb, edges)


def paint(stage: Stage, index: int, prisms: Sequence[Prism], x: float, z: float, yaw: float, y: float = 0.0) -> None:
    """Paint prisms standing at (x, y, z), the first below the last.

    `yaw` 0 looks away from the camera, pi towards it, pi/2 to the right.
    """
    c, s = cos(yaw), sin(yaw)
    camera = stage.camera

    def place(p: Point3) -> Point3:
        l, w, up = p
        return x + l * s - w * c, y + up, z + l * c + w * s

    for solid in prisms:
        visible = []
        for face in (*solid.faces, solid.left, solid.right):
            points = [place(p) for p in face.points]
            mean = [sum(p[i] for p in points) / len(points) for i in range(3)]
            l, w, up = face.normal
            normal = (l * s - w * c, up, l * c + w * s)
            facing = normal[0] * mean[0] + normal[1] * (mean[1] - camera.height) + normal[2] * mean[2]
            if facing < 0:  # the camera is on the outer side
                visible.append((mean[2], points, normal, face))
        for _, points, normal, face in sorted(visible, key=lambda item: -item[0]):
            lit = 0.93 + 0.12 * normal[1] - 0.08 * normal[0] - 0.05 * normal[2]
            stage.quad3(points, shade(face.rgb, lit), index)
            for decal, rgb in face.decals:
                stage.quad3([place(p) for p in decal], shade(rgb, lit), index)
