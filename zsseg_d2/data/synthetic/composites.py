"""Writing of the embedded parts of composites: cut-out objects, and views of scenes, both with their depth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from ..composites.depth import DESCRIPTION, DepthFormat, write_depth
from ..composites.splits import SPLITS
from ..errors import DatasetError
from . import workers
from .cutouts import KINDS, NATIVE_SIDE, render_cutout
from .folders import parameters_of, provide
from .scene import render_scene
from .worlds import WORLDS

DEFAULTS = {
    **{"train_foregrounds": 300, "val_foregrounds": 60, "test_foregrounds": 100},
    **{"train_backgrounds": 200, "val_backgrounds": 60, "test_backgrounds": 100},
    **{"side": 192, "seed": 0},
}
FARTHEST = 80.0
"""Metres at which depth ends, as is usual for streets; the sky is there, too."""

_MOST = 100_000  # parts of a split
_SEEDS = {split: 1_000_000 + k * _MOST for k, split in enumerate(SPLITS)}  # no scene of the other datasets
_FORMAT = DepthFormat("metric", 1 / 256)


@dataclass(frozen=True)
class _Piece:
    folder: str
    number: int
    seed: int
    side: int


def _write_foreground(piece: _Piece) -> None:
    kind = KINDS[piece.number % len(KINDS)]
    world = list(WORLDS.values())[piece.seed // len(KINDS) % len(WORLDS)]
    rgba, metres = render_cutout(world, kind, piece.seed)
    name = f"{piece.number:04}_{kind.replace(' ', '_')}.png"
    Image.fromarray(rgba).save(Path(piece.folder, "foregrounds", name), compress_level=1)
    write_depth(Path(piece.folder, "foreground_depth", name), metres, _FORMAT)


def _write_background(piece: _Piece) -> None:
    """Write a square view of a scene: its left or right half, or what lies between."""
    world = list(WORLDS.values())[piece.seed % len(WORLDS)]
    scene = render_scene(world, piece.seed, piece.side, 2 * piece.side)
    first = int(np.random.default_rng(piece.seed).integers(piece.side // 4, 3 * piece.side // 4 + 1))
    columns = slice(first, first + piece.side)
    name = f"{piece.number:04}_{scene.layout}.png"
    Image.fromarray(scene.image[:, columns]).save(Path(piece.folder, "backgrounds", name), compress_level=1)
    write_depth(Path(piece.folder, "background_depth", name), np.minimum(scene.depth[:, columns], FARTHEST), _FORMAT)


def _build(root: Path, parameters: dict, num_workers: int | None) -> dict:
    for split in SPLITS:
        folder = root / split
        for part in ("foregrounds", "foreground_depth", "backgrounds", "background_depth"):
            (folder / part).mkdir(parents=True)
        first = parameters["seed"] * 10_000_000 + _SEEDS[split]
        for part, write in (("foregrounds", _write_foreground), ("backgrounds", _write_background)):
            count = parameters[f"{split}_{part}"]
            pieces = [_Piece(str(folder), k, first + k, parameters["side"]) for k in range(count)]
            workers.run(write, pieces, f"{part} of {split}", num_workers)
    (root / DESCRIPTION).write_text(
        json.dumps({**msgspec.to_builtins(_FORMAT), "native_side": NATIVE_SIDE, "farthest": FARTHEST}, indent=2) + "\n"
    )
    return {"worlds": list(WORLDS)}


def write_composite_parts(
    root: str | Path, *, num_workers: int | None = None, reuse: bool = False, **parameters: int
) -> Path:
    """Write `root/composites` with foregrounds, backgrounds and the depth of both, and return that folder.

    Args:
        root: folder of datasets.
        num_workers: processes; None: one per usable core.
        reuse: keep the folder if it has these parameters, and make only files again that it lacks.
        parameters: any of :data:`DEFAULTS`: numbers of foregrounds and backgrounds of each split, side of the
            backgrounds in pixels, seed.

    Raises:
        FileExistsError: the folder holds something that this package did not make, and would have to be replaced.
        DatasetError: a number is out of range.
    """
    complete = {**DEFAULTS, **parameters}
    counts = {key: value for key, value in complete.items() if key.endswith("grounds")}
    if min(counts.values()) < 1 or max(counts.values()) > _MOST:
        raise DatasetError(f"numbers of foregrounds and backgrounds must be from 1 to {_MOST}: {counts}")
    return provide(Path(root) / "composites", complete, lambda p: _build(p, complete, num_workers), reuse=reuse)


def ensure_composite_parts(root: str | Path) -> Path:
    """Return `root/composites`, and make what is missing of it.

    A folder that is there keeps its parameters, and all other files in it; a new one gets the default parameters.

    Raises:
        FileExistsError, UnusableFile: the folder holds something that this package did not make.
    """
    return write_composite_parts(root, reuse=True, **parameters_of(Path(root) / "composites", DEFAULTS))
