"""PhraseCut (VGPhraseCut_v0): files -> records, and the registration. MiniPhrases has the same layout.

Under the root: ``refer_{train,val,test,miniv}.json``, ``image_data_split.json``, ``name_att_rel_count.json``,
``skip.json`` (optional) and ``images/{image_id}.jpg``, as https://github.com/ChenyunWu/PhraseCutDataset downloads them.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from detectron2.data import MetadataCatalog
from tqdm import tqdm

from ..catalogs import add_to_catalogs
from ..errors import DatasetError
from ..paths import FolderIndex, data_folder
from .folder import (
    SPLITS,
    WRONG_SIZE_IMAGES,
    image_path,
    iterate_entries,
    load_image_table,
    load_skip_list,
    remedy,
    splits_of,
)
from .tasks import TaskError, name_of, parse_task

logger = logging.getLogger(__name__)

Root = str | os.PathLike | Callable[[], Path]
"""A folder, or a function that returns it (without touching it) each time records are loaded."""

IMAGE_KEYS = ("file_name", "image_id", "height", "width", "coco_id")


def load_phrasecut(root: str | os.PathLike, split: str, *, by_image: bool = False) -> list[dict]:
    """Load the records of a split, in the order of its file. Opens no image and draws no mask.

    `val` excludes the images of `miniv`. Tasks named in skip.json are left out, and so are, in training, images that
    were annotated at another size (``WRONG_SIZE_IMAGES``).

    Args:
        root: the folder VGPhraseCut_v0.
        split: train, val, test or miniv, or several as in "val_miniv".
        by_image: one record per image instead of one per task.

    Returns:
        A task is ``{file_name, image_id, height, width, coco_id, task_id, phrase, phrase_structure, ann_ids,
        polygons}``; ``polygons.mask(height, width)`` draws its mask. An image is
        ``{file_name, image_id, height, width, coco_id, tasks [{task_id, phrase, ...}]}``.

    Raises:
        DatasetError: a file is missing or damaged, or a task is wrong; the message names file, task and remedy. Wrong
            tasks of the training split are left out, with a warning that counts them.
    """
    folder = Path(root)
    with _without_collector():
        records = [record for part in splits_of(split) for record in _records(folder, part)]
    if not records:
        raise DatasetError(f"{folder} has no task of the split '{split}'; {remedy(folder)}.")
    return group_by_image(records) if by_image else records


def group_by_image(records: list[dict]) -> list[dict]:
    """Group records of tasks to records of images with their ``tasks``, in the order of first appearance."""
    grouped: dict[int, dict] = {}
    for record in records:
        image = grouped.setdefault(record["image_id"], {**{key: record[key] for key in IMAGE_KEYS}, "tasks": []})
        image["tasks"].append({k: v for k, v in record.items() if k not in IMAGE_KEYS})
    return list(grouped.values())


def _records(root: Path, split: str) -> Iterator[dict]:
    """Yield the records of one split.

    Raises:
        DatasetError: see :func:`load_phrasecut`.
    """
    source, reader = root / f"refer_{split}.json", _SplitReader(root, split)
    wrong, first_wrong = 0, ""
    quiet = not sys.stderr.isatty()
    bar = tqdm(
        iterate_entries(root, split), desc=f"phrases of {split}", unit="phrase", delay=2, leave=False, disable=quiet
    )
    for number, entry in enumerate(bar):
        try:
            record = reader.read(entry)
        except TaskError as error:
            problem = f"task {name_of(entry) or f'number {number}'!r}: {error}"
            if split != "train":  # scores are computed over all tasks, or not at all
                raise DatasetError(f"{source}: {problem}; {remedy(root)}, or name the task in skip.json.") from None
            first_wrong = first_wrong or problem
            wrong += 1
            continue
        if record is not None:
            yield record
    if wrong:
        logger.warning(
            "%s: %d tasks are left out of training. The first: %s; %s.", source, wrong, first_wrong, remedy(root)
        )


class _SplitReader:
    """Turns the entries of one split into records."""

    def __init__(self, root: Path, split: str) -> None:
        self.root, self.split = root, split
        self.images, self.skipped, self.files = load_image_table(root), load_skip_list(root), FolderIndex()
        self.seen: set[str] = set()
        self.shared: dict[int, dict] = {}  # one copy of the values that the tasks of an image share

    def read(self, entry: object) -> dict | None:
        """Return the record of an entry, None if it is left out.

        Raises:
            TaskError: the task is wrong, or its image is missing.
        """
        if name_of(entry) in self.skipped:
            return None
        task = parse_task(entry)
        if task.task_id in self.seen:
            raise TaskError("duplicate task", "another task has the same id")
        image = self.images.get(task.image_id)
        if image is None:
            raise TaskError("unknown image", f"image {task.image_id} is not in image_data_split.json")
        if self.split == "val" and image.split == "miniv":
            return None
        if self.split == "train" and task.image_id in WRONG_SIZE_IMAGES:
            return None
        if task.image_id not in self.shared:
            path = image_path(self.root, task.image_id)
            if path not in self.files:
                raise TaskError("missing image", f"there is no image {path}")
            values = (str(path), task.image_id, image.height, image.width, image.coco)
            self.shared[task.image_id] = dict(zip(IMAGE_KEYS, values))
        self.seen.add(task.task_id)
        return {
            **self.shared[task.image_id],
            "task_id": task.task_id,
            "phrase": task.phrase,
            "phrase_structure": task.phrase_structure,
            "ann_ids": task.ann_ids,
            "polygons": task.polygons,
        }


@contextmanager
def _without_collector() -> Iterator[None]:
    """Disable garbage collection: searching millions of new objects for cycles takes longer than making them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def register_phrasecut(
    name: str, root: Root, split: str, *, by_image: bool = False, prepare: Callable[[Path], object] | None = None
) -> None:
    """Register a dataset in PhraseCut's layout. Reads no files; they are read when records are loaded.

    Args:
        name: for ``DATASETS.TRAIN`` / ``DATASETS.TEST``.
        root: the folder VGPhraseCut_v0, or a function that returns it.
        split: see :func:`load_phrasecut`.
        by_image: see :func:`load_phrasecut`.
        prepare: called with the folder before records are loaded, to make or check the dataset.

    Raises:
        DatasetError: the split is unknown, or another dataset has the name.
    """
    splits_of(split)
    load = partial(_load_registered, name, root, split, by_image, prepare)
    metadata = {"evaluator_type": "zsseg_referring", "split": split, "by_image": by_image, **_paths(_folder(root))}
    add_to_catalogs(name, load, metadata)


def _load_registered(
    name: str, root: Root, split: str, by_image: bool, prepare: Callable[[Path], object] | None
) -> list[dict]:
    folder = _folder(root)
    # DETECTRON2_DATASETS may have changed since the import; Metadata itself refuses a second value.
    vars(MetadataCatalog.get(name)).update(_paths(folder))
    if prepare is not None:
        prepare(folder)
    return load_phrasecut(folder, split, by_image=by_image)


def _folder(root: Root) -> Path:
    return Path(root() if callable(root) else root).expanduser()


def _paths(folder: Path) -> dict[str, str]:
    return {"root": str(folder), "image_root": str(folder / "images")}


def _make_miniphrases(folder: Path) -> None:
    from ..synthetic import ensure_miniphrases  # the renderer is imported only where it is used

    ensure_miniphrases(folder.parent)


def register_all_phrasecut() -> None:
    """Register ``phrasecut_{split}`` and ``miniphrases_{split}`` of every split, with one record per task."""
    for split in SPLITS:
        register_phrasecut(f"phrasecut_{split}", partial(data_folder, "VGPhraseCut_v0"), split)
        register_phrasecut(
            f"miniphrases_{split}", partial(data_folder, "miniphrases"), split, prepare=_make_miniphrases
        )
