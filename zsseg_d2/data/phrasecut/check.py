"""A check of a folder in PhraseCut's layout that reports every problem and stops at none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from tqdm import tqdm

from ...reading import MB, UnusableFile, read_json
from ..errors import DatasetError
from ..images.opening import opened_image
from ..images.pixels import to_rgb
from ..images.reading import SIDEWAYS, ImageRules, orientation
from ..paths import FolderIndex
from .folder import (
    SPLITS,
    WRONG_SIZE_IMAGES,
    ImageInfo,
    image_path,
    iterate_entries,
    load_image_table,
    load_skip_list,
    load_word_counts,
)
from .problems import SplitReport
from .tasks import Task, TaskError, name_of, parse_task

OFFICIAL_COUNTS: dict[str, tuple[int, int]] = {
    "train": (71_746, 310_816),
    "val": (2_971, 20_316),
    "test": (2_545, 14_354),
    "miniv": (100, 821),
}
"""Images and phrases of each split (README of ChenyunWu/PhraseCutDataset)."""


def check_phrasecut(
    root: Path,
    splits: Sequence[str] = SPLITS,
    *,
    decode: bool = False,
    progress: bool = True,
    rules: ImageRules | None = None,
) -> list[SplitReport]:
    """Report on splits of a dataset in PhraseCut's layout; its problems never raise an error.

    Args:
        root: the folder VGPhraseCut_v0, or one that this package made.
        splits: of `SPLITS`.
        decode: decode every image instead of reading its header; slow, but finds truncated ones.
        progress: show progress bars on standard error.
        rules: limits of images, and what their EXIF orientation means; None: the defaults.
    """
    reports = [SplitReport(split) for split in splits]
    shared = _Shared(root, decode, rules or ImageRules())
    for read, kind in (
        (shared.read_images, "unusable image table"),
        (shared.read_skipped, "unusable skip list"),
        (lambda: load_word_counts(root), "unusable word counts"),
    ):
        try:
            read()
        except DatasetError as error:
            for report in reports:
                report.add(kind, str(error))
    expected = _expected_counts(root)
    for report in reports:
        _check_split(report, shared, progress)
        report.expected = expected.get(report.split)
    _compare_counts(reports)
    return reports


class _Counts(msgspec.Struct):
    images: int
    phrases: int


class _Manifest(msgspec.Struct):
    splits: dict[str, _Counts]


def _expected_counts(root: Path) -> dict[str, tuple[int, int]]:
    """Return the official counts, or those in the manifest of a folder that this package made."""
    try:
        splits = read_json(root / "manifest.json", _Manifest, limit=64 * MB).splits
    except (FileNotFoundError, UnusableFile):
        return OFFICIAL_COUNTS
    return {split: (counts.images, counts.phrases) for split, counts in splits.items()}


def _compare_counts(reports: Iterable[SplitReport]) -> None:
    found = {report.split: (report.images, report.phrases) for report in reports}
    for report in reports:
        counts = found[report.split]
        if report.expected is None or counts == report.expected:
            continue
        # The official count of val includes miniv, since train, val and test add up to the whole.
        miniv = found.get("miniv", OFFICIAL_COUNTS["miniv"])
        if report.split == "val" and tuple(a + b for a, b in zip(counts, miniv)) == report.expected:
            report.add("fewer than published", "the rest is in miniv", note=True)
            continue
        report.add("other counts than expected", f"{counts[0]:,} images, {counts[1]:,} phrases")


class _Shared:
    """The files that the splits of a folder share."""

    def __init__(self, root: Path, decode: bool, rules: ImageRules) -> None:
        self.root, self.decode, self.rules = root, decode, rules
        self.images: dict[int, ImageInfo] | None = None
        self.skipped: frozenset[str] = frozenset()
        self.files = FolderIndex()
        self.task_ids: dict[str, str] = {}  # -> split

    def read_images(self) -> None:
        self.images = load_image_table(self.root)

    def read_skipped(self) -> None:
        self.skipped = load_skip_list(self.root)


def _check_split(report: SplitReport, shared: _Shared, progress: bool) -> None:
    split, seen = report.split, set[int]()
    entries = iterate_entries(shared.root, split)
    total = OFFICIAL_COUNTS.get(split, (0, None))[1] if progress else None
    with tqdm(desc=f"phrases of {split}", total=total, disable=not progress, unit="phrase", leave=False) as bar:
        try:
            for number, entry in enumerate(entries):
                bar.update()
                report.phrases += 1
                place = name_of(entry) or f"number {number}"
                try:
                    task = parse_task(entry)
                except TaskError as error:
                    report.add(error.kind, f"{place}: {error}")
                    continue
                seen.add(task.image_id)
                _check_task(report, shared, task)
        except DatasetError as error:
            report.add("unusable file", str(error))
    report.images = len(seen)
    for image_id in tqdm(sorted(seen), desc=f"images of {split}", disable=not progress, unit="image", leave=False):
        _check_image(report, shared, image_id)


def _check_task(report: SplitReport, shared: _Shared, task: Task) -> None:
    if task.task_id in shared.task_ids:
        report.add("duplicate task", f"{task.task_id} (also in {shared.task_ids[task.task_id]})")
    shared.task_ids[task.task_id] = report.split
    if task.task_id in shared.skipped:
        report.add("named in skip.json, left out", task.task_id, note=True)
    image = (shared.images or {}).get(task.image_id)
    if image is None:
        return
    if image.height * image.width > shared.rules.max_pixels:
        return  # told once for the image
    outside = task.polygons.outside(image.height, image.width)
    for _ in range(outside):
        report.add("polygon beyond the image, cut off", task.task_id, note=True)
    if task.polygons.is_empty(image.height, image.width):
        report.add("phrase without a mask", task.task_id)


def _check_image(report: SplitReport, shared: _Shared, image_id: int) -> None:
    image, path = (shared.images or {}).get(image_id), image_path(shared.root, image_id)
    if shared.images is not None and image is None:
        report.add("unknown image", f"{image_id} is not in image_data_split.json")
    elif image is not None and image.split != report.split:
        report.add("image of another split", f"{image_id} belongs to {image.split}", note=report.split == "val")
    if path not in shared.files:
        report.add("missing image", str(path))
        return
    if image is not None and image.height * image.width > shared.rules.max_pixels:
        report.add("image too large", f"{path.name}: its entry says {image.width}x{image.height}")
    try:
        with opened_image(path, max_pixels=shared.rules.max_pixels) as file:
            size, mode = file.size, file.mode
            if shared.decode:
                to_rgb(file, path.name)
            turned = orientation(file)
    except DatasetError as error:
        report.add("unusable image", str(error))
        return
    if mode != "RGB":
        report.add("converted to RGB", f"{path.name}: {mode}", note=True)
    if turned != 1:
        report.add("turned by EXIF", path.name, note=shared.rules.exif != "refuse")
    applied = shared.rules.exif == "apply" and turned >= SIDEWAYS
    sizes = {size[::-1]} if applied else {size}
    if image is not None and (image.width, image.height) not in sizes:
        place = f"{path.name} is {size[0]}x{size[1]}, its entry says {image.width}x{image.height}"
        report.add("image of another size than annotated", place, note=image_id in WRONG_SIZE_IMAGES)
