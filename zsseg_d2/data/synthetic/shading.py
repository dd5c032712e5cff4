"""From the painted canvas to the image: textures, roundness, haze, light and sensor noise."""

from __future__ import annotations

import numpy as np

from .canvas import SUPERSAMPLING, Stage
from .textures import SIZE, bank


def _textured(stage: Stage, ids: np.ndarray, z: np.ndarray, density: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """Return (H, W) luminance factors: the texture of each pixel's object, looked up in metres on its plane."""
    camera, parts = stage.camera, stage.parts
    y, x = np.indices(ids.shape, dtype=np.float32)
    is_side = np.array([p.plane == "side" for p in parts])[ids]
    is_ground = np.array([p.plane == "ground" for p in parts])[ids]
    metres = z / camera.focal  # a pixel's size in metres at that depth
    u = np.where(is_side, z, (x - camera.cx) * metres)
    v = np.where(is_ground, z, (y - camera.horizon) * metres)
    offsets = np.array([p.offset for p in parts], dtype=np.float32)[ids]
    tu = ((u + offsets[..., 0]) * density).astype(np.int64) % SIZE
    tv = ((v + offsets[..., 1]) * density).astype(np.int64) % SIZE
    texture = np.array([p.texture for p in parts])[ids]
    # Where a pixel spans many texels the pattern would alias: let it fade.
    span = density * metres * np.where(is_ground, np.maximum(z / camera.height, 1.0) * 0.3, 1.0)
    fade = np.clip(3.0 / np.maximum(span, 1e-3), 0.12, 1.0)
    return 1.0 + contrast * fade * bank()[texture, tv, tu]


def metres(stage: Stage, ids: np.ndarray) -> np.ndarray:
    """Return the (H, W) depth of every pixel in metres, float32; 0.5 to 400, which is the sky's.

    Args:
        stage: a painted scene.
        ids: (H, W) its index map at 1x.
    """
    camera, parts = stage.camera, stage.parts
    height, width = ids.shape
    rows = np.arange(height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]
    depth, plane_x = (np.array([getattr(p, name) for p in parts], dtype=np.float32) for name in ("depth", "plane_x"))
    planes = np.array([("front", "ground", "side").index(p.plane) for p in parts])[ids]
    ground_z = camera.focal * camera.height / np.maximum(rows - camera.horizon, 0.5)
    offset = columns - camera.cx
    side_z = camera.focal * plane_x[ids] / np.where(np.abs(offset) < 1, 1.0, offset)
    z = np.where(planes == 1, ground_z, np.where(planes == 2, side_z, depth[ids]))
    return np.clip(z, 0.5, 400.0)


def finish(stage: Stage) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Develop the scene.

    Returns:
        image (H, W, 3) uint8, index map (H, W) int32 and depth (H, W) float32 in metres, all at 1x.
    """
    world, rng, parts = stage.world, stage.rng, stage.parts
    ids = np.ascontiguousarray(np.asarray(stage.ids)[::SUPERSAMPLING, ::SUPERSAMPLING])
    image = np.asarray(stage.colour.reduce(SUPERSAMPLING), dtype=np.float32)
    height, width = ids.shape
    rows = np.arange(height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]

    def of(attribute: str) -> np.ndarray:
        return np.array([getattr(p, attribute) for p in parts], dtype=np.float32)[ids]

    z = metres(stage, ids)
    factor = _textured(stage, ids, z, of("density"), of("contrast"))

    # Roundness: objects are lighter above than below their middle.
    first = np.full(len(parts), height, dtype=np.float32)
    last = np.zeros(len(parts), dtype=np.float32)
    flat = ids.ravel()
    row_of = np.repeat(np.arange(height), width)
    np.minimum.at(first, flat, row_of)
    np.maximum.at(last, flat, row_of)
    relative = (rows - first[ids]) / np.maximum(last - first, 1.0)[ids]
    factor *= 1.0 + of("roundness") * (0.5 - relative)

    light = world.light
    factor *= rng.uniform(*light.gain) * (1.0 + rng.uniform(*light.side) * (columns / width - 0.5))
    image *= factor[..., None]
    far = rng.uniform(*light.haze) * (1.0 - np.exp(-z / 45.0))
    is_sky = np.array([p.kind == "sky" for p in parts])[ids]
    far = np.where(is_sky, 0.0, far)[..., None].astype(np.float32)
    image += far * (np.array(light.haze_rgb, dtype=np.float32) - image)
    image *= np.array(light.cast[int(rng.integers(len(light.cast)))], dtype=np.float32) / 255
    sigma = rng.uniform(*light.noise)
    image += (rng.standard_normal((height, width, 1), dtype=np.float32) * sigma).astype(np.float32)
    return np.clip(image, 0, 255).astype(np.uint8), ids.astype(np.int32), z
