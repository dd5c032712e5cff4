"""Writing of MiniPhrases: views of the pre-training world with phrases, in the layout of VGPhraseCut_v0."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import DatasetError
from ..images.writing import encode_image
from . import workers
from .folders import parameters_of, provide
from .outlines import trace
from .phrase_scenes import render_view
from .phrases import Phrase, make_phrases

# First scene of each split; none is a scene of MiniWorld or of the embedded CLIP's pre-training.
SPLIT_SEEDS = {"train": 600_000, "val": 700_000, "test": 800_000, "miniv": 900_000}
DEFAULTS = {"train": 1000, "val": 60, "test": 100, "miniv": 10, "side": 256, "seed": 0}
_TRIES = 4  # scenes an image may choose from
_FEWEST_PHRASES, _FEWEST_REGIONS = 4, 3
_MOST_IMAGES = 100_000 // _TRIES


@dataclass(frozen=True)
class _Frame:
    root: str
    split: str
    image_id: int
    seed: int
    side: int


@dataclass(frozen=True)
class _Written:
    """What one image adds to the files."""

    image: dict
    tasks: list[dict]
    forms: Counter


def tasks_of(image_id: int, index: np.ndarray, phrases: list[Phrase]) -> list[dict]:
    """Return entries of ``refer_{split}.json``.

    Args:
        image_id: below 2**31 / 100.
        index: (H, W) int32 object index.
        phrases: about this image.
    """
    tasks, used = [], 0
    for phrase in phrases:
        # As in Visual Genome, a thing may be listed under several ids; each phrase gets its own, so task ids differ.
        ann_ids = [100 * image_id + used + n for n in range(len(phrase.instances))]
        used += len(ann_ids)
        masks = [np.isin(index, instance) for instance in phrase.instances]
        relations = phrase.structure["relation_descriptions"]
        tasks.append(
            {
                "task_id": "_".join([f"{image_id}_", *map(str, ann_ids)]),
                "image_id": image_id,
                "ann_ids": ann_ids,
                "instance_boxes": [_box(mask) for mask in masks],
                "Polygons": [trace(mask) for mask in masks],
                "phrase": phrase.text,
                "phrase_structure": {**phrase.structure, "relation_ids": [ann_ids[0]] * len(relations)},
            }
        )
    return tasks


def _box(mask: np.ndarray) -> list[int]:
    """Return x, y, width, height."""
    y, x = np.nonzero(mask)
    return [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]


def _write_frame(frame: _Frame) -> _Written:
    """Write one image: the first of its scenes with enough to tell apart, or else the one with most phrases."""
    best: tuple[int, np.ndarray, np.ndarray, list[Phrase]] | None = None
    for seed in range(frame.seed, frame.seed + _TRIES):
        view = render_view(seed, frame.side)
        phrases = make_phrases(view, np.random.default_rng(seed))
        if best is None or len(phrases) > best[0]:
            best = (len(phrases), view.image, view.index, phrases)
        if len(phrases) >= _FEWEST_PHRASES and len({p.instances for p in phrases}) >= _FEWEST_REGIONS:
            best = (len(phrases), view.image, view.index, phrases)
            break
    assert best is not None  # there is at least one try
    _, image, index, phrases = best
    encoded = encode_image(Image.fromarray(image), "JPEG", quality=95)
    Path(frame.root, "images", f"{frame.image_id}.jpg").write_bytes(encoded)
    entry = {
        "image_id": frame.image_id,
        "coco_id": None,
        "flickr_id": None,
        "url": "",
        "width": frame.side,
        "height": frame.side,
        "split": frame.split,
    }
    return _Written(entry, tasks_of(frame.image_id, index, phrases), Counter(p.form for p in phrases))


def _word_counts(tasks: list[dict]) -> dict[str, list]:
    """Return name_att_rel_count.json: (word, count), frequent ones first."""
    structures = [task["phrase_structure"] for task in tasks]
    words = {
        "cat": Counter(s["name"] for s in structures),
        "att": Counter(a for s in structures for a in s["attributes"]),
        "rel": Counter(predicate for s in structures for predicate, _ in s["relation_descriptions"]),
    }
    return {key: sorted(count.items(), key=lambda item: (-item[1], item[0])) for key, count in words.items()}


def _build(root: Path, parameters: dict, num_workers: int | None) -> dict:
    (root / "images").mkdir()
    images, everything, summary = [], [], {}
    for split, first in SPLIT_SEEDS.items():
        seed = parameters["seed"] * 1_000_000 + first
        frames = [
            _Frame(str(root), split, first + k, seed + k * _TRIES, parameters["side"]) for k in range(parameters[split])
        ]
        written = workers.run(_write_frame, frames, f"MiniPhrases {split}", num_workers) if frames else []
        tasks = [task for one in written for task in one.tasks]
        (root / f"refer_{split}.json").write_text(json.dumps(tasks))
        images += [one.image for one in written]
        everything += tasks
        forms = sum((one.forms for one in written), Counter())
        summary[split] = {
            "images": len(written),
            "phrases": len(tasks),
            "instances": sum(len(task["ann_ids"]) for task in tasks),
            "forms": dict(sorted(forms.items())),
        }
    (root / "image_data_split.json").write_text(json.dumps(images))
    (root / "name_att_rel_count.json").write_text(json.dumps(_word_counts(everything)))
    (root / "skip.json").write_text("[]")
    return {"world": "pretraining", "splits": summary}


def write_miniphrases(
    root: str | Path,
    *,
    train: int = DEFAULTS["train"],
    val: int = DEFAULTS["val"],
    test: int = DEFAULTS["test"],
    miniv: int = DEFAULTS["miniv"],
    side: int = DEFAULTS["side"],
    seed: int = DEFAULTS["seed"],
    num_workers: int | None = None,
    reuse: bool = False,
) -> Path:
    """Write `root/miniphrases` in the layout of VGPhraseCut_v0, and return that folder.

    Args:
        train, val, test, miniv: number of images; those of miniv are not in val.
        side: their height and width in pixels.
        num_workers: processes; None: one per usable core.
        reuse: keep the folder if it has these parameters, and make only files again that it lacks.
    Raises:
        FileExistsError: the folder holds something that this package did not make, and would have to be replaced.
        DatasetError: there is no image to make, or more than the seeds reserved for a split.
    """
    counts = {"train": train, "val": val, "test": test, "miniv": miniv}
    if min(counts.values()) < 0 or not any(counts.values()) or max(counts.values()) > _MOST_IMAGES:
        raise DatasetError(f"numbers of images out of range: {counts}")
    parameters = {**counts, "side": side, "seed": seed}
    return provide(Path(root) / "miniphrases", parameters, lambda p: _build(p, parameters, num_workers), reuse=reuse)


def ensure_miniphrases(root: str | Path) -> Path:
    """Return `root/miniphrases`, and make what is missing of it.

    A folder that is there keeps its parameters, and all other files in it; a new one gets the default parameters.

    Raises:
        FileExistsError, UnusableFile: the folder holds something that this package did not make.
    """
    return write_miniphrases(root, **parameters_of(Path(root) / "miniphrases", DEFAULTS), reuse=True)
