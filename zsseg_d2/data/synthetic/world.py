"""What a domain is: its vocabulary, layouts, palettes, surfaces, proportions, camera and light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .palette import RGB

Range = tuple[float, float]


@dataclass(frozen=True)
class Category:
    """A class of the annotated vocabulary; `name` is the kind that painters draw."""

    name: str
    id: int
    isthing: bool
    synonyms: tuple[str, ...]


@dataclass(frozen=True)
class Surface:
    """How a surface looks: colour, texture (a name of `textures.NAMES`), contrast, texels a metre."""

    rgb: RGB
    texture: str = "fine"
    contrast: float = 0.06
    density: float = 32.0


@dataclass(frozen=True)
class Light:
    """Ranges from which each scene's lighting is drawn."""

    gain: Range  # overall brightness
    cast: tuple[RGB, ...]  # colour of the light, 255 = neutral
    haze: Range  # share of haze far away
    haze_rgb: RGB
    noise: Range  # standard deviation in grey levels
    side: Range  # brightness slope from left to right


@dataclass(frozen=True)
class World:
    """A domain of scenes. Everything that `render_scene` draws follows from this and a seed."""

    name: str
    categories: tuple[Category, ...]
    void_kinds: tuple[str, ...]  # drawn, but outside the annotated vocabulary
    layouts: Mapping[str, float]  # layout name -> frequency
    palette: Mapping[str, RGB]
    colours: Mapping[str, Mapping[str, float]]  # kind ("" = any other) -> named colour -> frequency
    surfaces: Mapping[str, tuple[Surface, ...]]  # stuff kind -> variants
    sizes: Mapping[str, tuple[float, float, float]]  # kind -> length, width, height in metres
    frequency: Mapping[str, float]  # street layout: expected count (or probability) of a kind
    featured: tuple[str, ...]  # kinds shown in turn, so that any few dozen scenes hold them all
    camera_height: Range  # metres
    horizon: Range  # share of the image height
    road_width: Range  # metres
    light: Light
    glass: tuple[RGB, ...]
    trousers: tuple[RGB, ...]
    crowds: float  # probability of a group that is annotated as one crowd
    min_area: int = 60  # visible pixels at 256 x 512 below which a thing counts as void

    def category(self, kind: str) -> Category | None:
        """Return the category that annotates `kind`, or None where `kind` is void in this world."""
        return next((c for c in self.categories if c.name == kind), None)
