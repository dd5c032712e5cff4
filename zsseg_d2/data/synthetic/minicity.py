"""Writing of MiniCity in the layout of Cityscapes, whose own tool then makes the panoptic files."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from cityscapesscripts.helpers.labels import id2label, name2label
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from PIL import Image

from ..errors import DatasetError
from . import workers
from .folders import parameters_of, provide
from .scene import Scene, render_scene
from .worlds import CITY

# Invented names: nothing here should be taken for a real city's data.
CITIES: dict[str, tuple[str, ...]] = {
    "train": ("ahornstadt", "birkenau", "eichfeld", "lindenhafen", "rotbuchen"),
    "val": ("ulmenbruck", "weidental"),
    "val_large": ("ulmenbruck", "weidental"),
    "test": ("buchenwerth", "erlenfurt", "kiefernau"),
}
DEFAULTS = {"train": 300, "val": 50, "height": 256, "width": 512, "seed": 0}
EXTRA_SPLITS = {"val_large": 150, "test": 150}
"""Splits with a folder of their own, and their numbers of images. "val" is the beginning of "val_large"."""
_SEEDS = {"train": 0, "val": 500_000, "val_large": 500_000, "test": 550_000}  # first scene of each split
_MOST = {"train": 500_000, "val": 50_000, "val_large": 50_000, "test": 50_000}  # scenes up to the next split's


@dataclass(frozen=True)
class _Frame:
    root: str
    split: str
    number: int
    seed: int
    height: int
    width: int


def instance_ids(scene: Scene) -> np.ndarray:
    """Return Cityscapes' instance ids of a scene of `CITY`.

    Returns:
        (H, W) uint16: label id for stuff, void and crowds; 1000 * label id + k for the k-th instance of a class.
    """
    table = np.zeros(len(scene.objects) + 1, dtype=np.uint16)
    seen: Counter[int] = Counter()
    for o in scene.objects:
        label = name2label[o.kind]
        if label.hasInstances and not o.crowd:
            table[o.index] = 1000 * label.id + seen[label.id]
            seen[label.id] += 1
        else:
            table[o.index] = label.id
    return table[scene.index]


@lru_cache(maxsize=1)
def _train_ids() -> np.ndarray:
    """Return (256,) uint8: label id to train id, 255 where it is ignored."""
    table = np.full(256, 255, dtype=np.uint8)
    for label_id, label in id2label.items():
        if label_id >= 0 and 0 <= label.trainId < 255:
            table[label_id] = label.trainId
    return table


def _write_frame(frame: _Frame) -> tuple[dict[str, int], dict[str, int]]:
    """Render and write one frame, and return segments and pixels by class name."""
    scene = render_scene(CITY, frame.seed, frame.height, frame.width)
    instances = instance_ids(scene)
    labels = np.where(instances >= 1000, instances // 1000, instances).astype(np.uint8)
    cities = CITIES[frame.split]
    city = cities[frame.number % len(cities)]
    stem = f"{city}_{frame.number // len(cities):06d}_000019"
    images = Path(frame.root, "leftImg8bit", frame.split, city)
    truth = Path(frame.root, "gtFine", frame.split, city)
    Image.fromarray(scene.image).save(images / f"{stem}_leftImg8bit.png", compress_level=1)
    for suffix, array in (("instanceIds", instances), ("labelIds", labels), ("labelTrainIds", _train_ids()[labels])):
        Image.fromarray(array).save(truth / f"{stem}_gtFine_{suffix}.png", compress_level=1)
    names = {o.index: o.kind for o in scene.objects}
    segments: Counter[str] = Counter()
    for value in np.unique(instances):
        segments[id2label[int(value) // 1000 if value >= 1000 else int(value)].name] += 1
    pixels: Counter[str] = Counter()
    for index, area in enumerate(np.bincount(scene.index.ravel())):
        pixels[names.get(index, "unlabeled")] += int(area)
    return dict(segments), {name: n for name, n in pixels.items() if n}


def _make_panoptic(task: tuple[str, str]) -> None:
    root, split = task
    with contextlib.redirect_stdout(io.StringIO()):
        convert2panoptic(f"{root}/gtFine", f"{root}/gtFine", useTrainId=False, setNames=[split])


def _build(root: Path, parameters: dict, num_workers: int | None) -> dict:
    frames = []
    splits = [split for split in CITIES if parameters.get(split)]
    for split in splits:
        for city in CITIES[split][: parameters[split]]:
            for part in ("leftImg8bit", "gtFine"):
                (root / part / split / city).mkdir(parents=True)
        first = parameters["seed"] * 1_000_000 + _SEEDS[split]
        frames += [
            _Frame(str(root), split, k, first + k, parameters["height"], parameters["width"])
            for k in range(parameters[split])
        ]
    counts = workers.run(_write_frame, frames, "MiniCity", num_workers)
    workers.run(_make_panoptic, [(str(root), split) for split in splits], "MiniCity panoptic", num_workers, "split")
    summary: dict[str, dict] = {}
    for split in splits:
        images: Counter[str] = Counter()
        segments: Counter[str] = Counter()
        pixels: Counter[str] = Counter()
        for frame, (frame_segments, frame_pixels) in zip(frames, counts):
            if frame.split == split:
                images.update(frame_segments.keys())
                segments.update(frame_segments)
                pixels.update(frame_pixels)
        summary[split] = {
            "images": parameters[split],
            "classes": {
                name: {"images": images[name], "segments": segments[name], "pixels": pixels[name]}
                for name in sorted(images, key=lambda n: name2label[n].id)
            },
        }
    return {"world": CITY.name, "splits": summary}


def write_minicity(
    root: str | Path,
    *,
    train: int = DEFAULTS["train"],
    val: int = DEFAULTS["val"],
    height: int = DEFAULTS["height"],
    width: int = DEFAULTS["width"],
    seed: int = DEFAULTS["seed"],
    num_workers: int | None = None,
    reuse: bool = False,
) -> Path:
    """Write `root/minicity` in Cityscapes' layout, panoptic files included, and return that folder.

    Args:
        train, val: number of images.
        height, width: their size in pixels.
        num_workers: processes; None: one per usable core.
        reuse: keep the folder if it has these parameters, and make only files again that it lacks.
    Raises:
        FileExistsError: the folder holds something that this package did not make, and would have to be replaced.
        DatasetError: there is no image to make, or more than the seeds reserved for a split.
    """
    if min(train, val) < 0 or train + val == 0 or train > _MOST["train"] or val > _MOST["val"]:
        raise DatasetError(f"numbers of images out of range: train={train}, val={val}")
    parameters = {"train": train, "val": val, "height": height, "width": width, "seed": seed}
    return provide(Path(root) / "minicity", parameters, lambda p: _build(p, parameters, num_workers), reuse=reuse)


def ensure_minicity(root: str | Path) -> Path:
    """Return `root/minicity`, and make what is missing of it.

    A folder that is there keeps its parameters, and all other files in it; a new one gets the default parameters.

    Raises:
        FileExistsError, UnusableFile: the folder holds something that this package did not make.
    """
    return write_minicity(root, **parameters_of(Path(root) / "minicity", DEFAULTS), reuse=True)


def write_minicity_split(
    root: str | Path,
    split: str,
    *,
    images: int = 0,
    height: int = DEFAULTS["height"],
    width: int = DEFAULTS["width"],
    seed: int = DEFAULTS["seed"],
    num_workers: int | None = None,
    reuse: bool = False,
) -> Path:
    """Write an extra split of MiniCity, which nothing else needs, to `root/minicity_<split>`, and return that folder.

    Args:
        root: the folder of all datasets.
        split: ``"val_large"``, a longer validation split that begins with the images of "val", or ``"test"``, scenes of
            other cities.
        images: number of images; 0: as many as `EXTRA_SPLITS` says.
        height, width: their size in pixels.
        seed: as of :func:`write_minicity`.
        num_workers: processes; None: one per usable core.
        reuse: keep the folder if it has these parameters, and make only files again that it lacks.

    Raises:
        FileExistsError: the folder holds something that this package did not make, and would have to be replaced.
        DatasetError: there is no such split, or more images than the seeds reserved for it.
    """
    if split not in EXTRA_SPLITS:
        raise DatasetError(f"split={split}: MiniCity has no such extra split. Fix: choose {' or '.join(EXTRA_SPLITS)}.")
    if not 0 <= images <= _MOST[split]:
        raise DatasetError(f"number of images out of range: {split}={images}")
    parameters = {split: images or EXTRA_SPLITS[split], "height": height, "width": width, "seed": seed}
    folder = Path(root) / f"minicity_{split}"
    return provide(folder, parameters, lambda p: _build(p, parameters, num_workers), reuse=reuse)


def ensure_minicity_split(root: str | Path, split: str) -> Path:
    """Return `root/minicity_<split>`, and make what is missing of it, as :func:`ensure_minicity` does.

    Raises:
        FileExistsError, UnusableFile: the folder holds something that this package did not make.
    """
    size = {key: DEFAULTS[key] for key in ("height", "width", "seed")}
    found = parameters_of(Path(root) / f"minicity_{split}", {split: EXTRA_SPLITS[split], **size})
    return write_minicity_split(root, split, images=found.pop(split), **found, reuse=True)
