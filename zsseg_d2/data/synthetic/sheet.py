"""Contact sheets: images next to their coloured objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from .scene import Scene, render_scene
from .world import World


def colour_map(scene: Scene, world: World) -> np.ndarray:
    """Return (H, W, 3) uint8: a hue for each class, varied by object; black where the world has no category."""
    rng = np.random.default_rng(3)
    hues = {c.name: rng.integers(50, 256, 3) for c in world.categories}
    table = np.zeros((len(scene.objects) + 1, 3), dtype=np.uint8)
    for o in scene.objects:
        if o.kind in hues:
            jitter = np.random.default_rng(o.index).integers(-28, 29, 3) if o.is_thing else 0
            table[o.index] = np.clip(hues[o.kind] + jitter, 0, 255)
    image = table[scene.index]
    edge = np.zeros(scene.index.shape, dtype=bool)
    edge[:, 1:] |= scene.index[:, 1:] != scene.index[:, :-1]
    edge[1:] |= scene.index[1:] != scene.index[:-1]
    image[edge] = image[edge] // 2
    return image


def contact_sheet(
    world: World, seeds: Sequence[int], height: int = 256, width: int = 512, columns: int = 2
) -> Image.Image:
    """Return a sheet with `columns` pairs (image, objects) per row."""
    tiles = []
    for seed in seeds:
        scene = render_scene(world, seed, height, width)
        tiles.append(np.concatenate([scene.image, colour_map(scene, world)], 1))
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
    return Image.fromarray(np.concatenate(rows))
