"""How composites are made: size of the canvas, sizes, positions and flips of foregrounds, the seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detectron2.config import CfgNode  # imports torch

POSITIONS = ("random", "grid")
"""Values of INPUT.COMPOSITES.POSITIONS."""
GRID = (5, 4)
"""Columns and rows of the published grid."""


@dataclass(frozen=True)
class CompositeSettings:
    """How composites are made.

    Attributes:
        side: S, height and width of a composite in pixels.
        scale: smallest and largest longer side of a foreground, as a share of S; the published one is 0.5.
        positions: ``"random"``, or ``"grid"``, the published one: x = i · step for i = 0 … 4, and y = j · step for
            j = 4 … 1, where foregrounds may reach beyond the border.
        per_pair: number of random positions for a foreground, a background and a flip.
        grid_step: distance of the grid's points in pixels; 0: S / 8, which is the published 28 at S = 224.
        overhang: share of a foreground's width and height that may lie beyond the border at random positions.
        flips: whether each composite is made with the mirrored foreground, too.
        seed: of sizes and random positions.
    """

    side: int = 96
    scale: tuple[float, float] = (0.35, 0.65)
    positions: str = "random"
    per_pair: int = 20
    grid_step: int = 0
    overhang: float = 0.0
    flips: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.side < 1 or self.per_pair < 1 or self.grid_step < 0 or not 0 <= self.overhang < 1:
            raise ValueError("side and per_pair must be positive, grid_step not negative, overhang in [0, 1).")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"INPUT.COMPOSITES.SCALE={list(self.scale)}: it must be two rising positive numbers.")
        if self.positions not in POSITIONS:
            raise ValueError(f"INPUT.COMPOSITES.POSITIONS={self.positions}: choose one of {', '.join(POSITIONS)}.")

    @property
    def position_count(self) -> int:
        """Number of positions for a foreground, a background and a flip."""
        return GRID[0] * GRID[1] if self.positions == "grid" else self.per_pair

    @classmethod
    def from_config(cls, cfg: CfgNode) -> CompositeSettings:
        """Read INPUT.COMPOSITES."""
        c = cfg.INPUT.COMPOSITES
        return cls(
            side=c.SIZE,
            scale=(c.SCALE[0], c.SCALE[1]),
            positions=c.POSITIONS,
            per_pair=c.PER_PAIR,
            grid_step=c.GRID_STEP,
            overhang=c.OVERHANG,
            flips=c.FLIPS,
            seed=c.SEED,
        )
