"""Arrangement of objects on the ground: they stay apart, and are painted from far to near."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import exp, log

from .canvas import Stage
from .objects import footprint, place, place_rider

Painter = Callable[[], object]


class Arrangement:
    """A queue of painters by depth, and the rectangles of ground that are taken."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._queue: list[tuple[float, int, Painter]] = []
        self._taken: list[tuple[float, float, float, float]] = []

    def add(self, depth: float, painter: Painter) -> None:
        """Queue a painter."""
        self._queue.append((-depth, len(self._queue), painter))

    def paint(self) -> None:
        """Run the queue, far first."""
        for _, _, painter in sorted(self._queue, key=lambda item: item[:2]):
            painter()
        self._queue.clear()

    def claim(self, x: float, z: float, rx: float, rz: float, gap: float = 0.25) -> bool:
        """Take a rectangle of ground unless part of it is taken."""
        x0, x1, z0, z1 = x - rx - gap, x + rx + gap, z - rz - gap, z + rz + gap
        if any(x0 < b and a < x1 and z0 < d and c < z1 for a, b, c, d in self._taken):
            return False
        self._taken.append((x0, x1, z0, z1))
        return True

    def scatter(
        self,
        kind: str,
        xs: Callable[[float], tuple[float, float]],
        near: float,
        far: float,
        yaw: float | None = None,
        tries: int = 12,
        size: float | None = None,
    ) -> bool:
        """Queue one object of `kind` at a free spot; false if none was found.

        Args:
            xs: range of X in metres allowed at a depth.
            near, far: range of depth of its nearest point; near ones are as likely as far ones on a log scale.
            yaw: heading; for a "rider" the turn of the bike.
        """
        rng = self.stage.rng
        turn = float(rng.uniform(0, 6.283)) if yaw is None else yaw
        solid = kind in ("car", "truck", "bus", "train", "box", "table", "tent")
        rx, rz = footprint(self.stage, kind, turn if solid else 0.0)
        for _ in range(tries):
            front = exp(rng.uniform(log(near), log(far)))
            z = front + rz
            x0, x1 = xs(z)
            x = float(rng.uniform(x0, x1))
            if not self.claim(x, z, rx, rz):
                continue
            if kind == "rider":
                bike = "motorcycle" if rng.random() < 0.4 else "bicycle"
                self.add(front, partial(place_rider, self.stage, bike, x, z, yaw))
            else:
                self.add(front, partial(place, self.stage, kind, x, z, yaw=turn if solid else yaw, size=size))
            return True
        return False

    def crowd(self, kind: str, count: int, x: float, z: float, spread: float) -> None:
        """Queue a group of `count` objects of `kind` under one index, a crowd region."""
        stage, rng = self.stage, self.stage.rng
        rx, _ = footprint(stage, kind, 0.0)
        offsets = sorted(
            ((float(rng.uniform(-spread, spread)), float(rng.uniform(0, 1.2))) for _ in range(count)),
            key=lambda o: -o[1],
        )
        self.claim(x, z, spread + rx, 1.0)

        def painter() -> None:
            index = stage.new(kind, z, None, crowd=True, scale=stage.camera.scale(z))
            for dx, dz in offsets:
                yaw = 0.1 if kind in ("car", "bicycle") else None
                place(stage, kind, x + dx, z + dz, yaw=yaw, crowd=index)

        self.add(z, painter)
