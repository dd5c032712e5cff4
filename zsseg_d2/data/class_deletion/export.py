"""Class-deleted copies of a panoptic dataset, for programs that do not use the registered datasets.

A copy has the layout of its source: images linked or copied, panoptic JSON and PNGs, and in Cityscapes layout the label
maps, all without the deleted classes. :mod:`..panoptic.split_writer` describes how an interrupted run resumes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from ...folder_lock import writing
from ...reading import JSON_LIMIT, read_bytes
from ..errors import DatasetError
from ..panoptic.categories import PanopticCategory
from ..panoptic.cityscapes import CITYSCAPES
from ..panoptic.cityscapes_layout import IMAGE_SUFFIX, CityscapesLayout
from ..panoptic.family import PanopticFamily
from ..panoptic.registration import PanopticPaths
from ..panoptic.split_writer import ResumableSplitWriter, check_outside, write_json
from ..paths import safe_join
from .label_maps import LABEL_MAPS, DeletionTask, write_tasks

TOOL = "delete_classes"
Counts = tuple[int, int, int]
"""Label id, segments and pixels of a class in an image."""
FORMAT = 1  # raise when the same arguments give other labels or entries


@dataclass
class ClassDeletedExport:
    """A copy to write.

    Args:
        output: its folder.
        label_ids: category ids of the deleted classes.

    Attributes:
        complete: after :func:`write_deleted_copies`, whether the copy was complete before.
    """

    output: Path
    label_ids: tuple[int, ...]
    complete: bool = False


def write_deleted_copies(
    root: str | os.PathLike,
    split: str,
    copies: Sequence[ClassDeletedExport],
    *,
    family: PanopticFamily = CITYSCAPES,
    copy_images: bool = False,
    num_workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Write one or several copies of a split; each source file is decoded once, and shared parts are encoded once.

    Args:
        root: the folder of a dataset with the layout and classes of `family`; never written to.
        split: ``"train"``, ``"val"`` or any other split of it.
        copies: complete copies are left as they are, interrupted ones are resumed.
        family: layout and classes; its own folder is not used.
        copy_images: copy the images instead of linking to them.
        num_workers: processes; None: one per usable core.
        overwrite: replace files that an earlier run wrote with other arguments.
        progress: show a progress bar.

    Raises:
        DatasetError: the source is incomplete or inconsistent, or an output cannot be used.
        FolderInUse: another process writes an output.
    """
    family.require_panoptic("copies without classes")
    source = _Source(Path(root), split, family, copy_images)
    source.load()
    for copy in copies:
        check_outside(family.layout.paths(copy.output, split), source.paths(source.root), copy.output, source.root)
    source.check_names()
    opened = [_OpenCopy(copy, source.writer(copy.output)) for copy in copies]
    for each in opened:
        each.files.check(source.arguments(each.label_ids), overwrite)
    with ExitStack() as locks:
        for output in {copy.output.resolve(): copy.output for copy in copies}.values():
            locks.enter_context(writing(output, TOOL))
        _write(source, [each for each in opened if _open(source, each, overwrite)], num_workers, progress)


def _write(source: _Source, pending: Sequence[_OpenCopy], num_workers: int | None, progress: bool) -> None:
    """Write all copies that are not complete."""
    tasks = list(_tasks(source, pending))
    results = write_tasks(tasks, num_workers)
    for image_id, classes in tqdm(
        results, f"{source.split}", len(tasks), unit="image", disable=None if progress else True
    ):
        for copy in pending:
            if image_id not in copy.files.done:
                copy.files.add(image_id, classes)
    for copy in pending:
        _finish(source, copy)


@dataclass
class _Source:
    """The split that is copied."""

    root: Path
    split: str
    family: PanopticFamily
    copy_images: bool

    def load(self) -> None:
        """Read records and annotations."""
        self.records = self.family.layout.load(self.root, self.split, self.family.categories)
        self.content = read_bytes(self.paths(self.root).panoptic_json, JSON_LIMIT)

    def check_names(self) -> None:
        """Check the names of images, which a copy's JSON repeats; all others were checked when they were used.

        Raises:
            DatasetError: one leads out of its folder.
        """
        path = self.paths(self.root).panoptic_json
        for image in json.loads(self.content)["images"]:
            if image.get("file_name") is not None:
                safe_join(self.paths(self.root).image_root, image["file_name"], path)

    def writer(self, output: Path) -> ResumableSplitWriter:
        """Return the writer of a copy."""
        paths = self.paths(output)
        own = [paths.panoptic_json, paths.panoptic_root, paths.image_root]
        if self.has_label_maps:
            own.append(output / "gtFine" / self.split)
        return ResumableSplitWriter(output, own, split=self.split, tool=TOOL, note=list[Counts])

    def paths(self, folder: Path) -> PanopticPaths:
        """Return where the split's files are under the source's or a copy's folder."""
        return self.family.layout.paths(folder, self.split)

    @property
    def label_ids(self) -> frozenset[int]:
        """Category ids of all classes."""
        return frozenset(c.id for c in self.family.categories)

    @property
    def has_label_maps(self) -> bool:
        """Whether there are label maps besides the panoptic files."""
        return isinstance(self.family.layout, CityscapesLayout)

    def arguments(self, label_ids: Sequence[int]) -> dict:
        """Return everything that determines the files of a copy, as JSON gives it back."""
        return {
            "format": FORMAT,
            "source": str(self.root.resolve()),
            "source_json_sha256": hashlib.sha256(self.content).hexdigest(),
            "split": self.split,
            "images": "copied" if self.copy_images else "linked",
            # Not named for Cityscapes, so that copies made before there were families stay complete.
            **({} if self.family == CITYSCAPES else {"family": self.family.prefix}),
            "deleted_label_ids": list(label_ids),
        }

    def is_complete(self, output: Path) -> bool:
        """Return whether a copy has all images."""
        try:
            records = self.family.layout.load(output, self.split, self.family.categories)
        except DatasetError:
            return False
        return len(records) == len(self.records)


@dataclass
class _OpenCopy:
    """A copy that is being written; the notes of `files` are the counts of each class."""

    copy: ClassDeletedExport
    files: ResumableSplitWriter

    @property
    def output(self) -> Path:
        """Its folder."""
        return self.copy.output

    @property
    def label_ids(self) -> tuple[int, ...]:
        """Category ids of the deleted classes."""
        return self.copy.label_ids


def _open(source: _Source, opened: _OpenCopy, overwrite: bool) -> bool:
    """Return whether there is something to write."""
    files = opened.files
    files.open(source.arguments(opened.label_ids), lambda: source.is_complete(opened.output), overwrite)
    files.check_notes((label for note in files.done.values() for label, *_ in note), source.label_ids)
    opened.copy.complete = files.complete
    return not files.complete


def _tasks(source: _Source, copies: Sequence[_OpenCopy]) -> Iterator[DeletionTask]:
    """Yield the images that some copy still lacks, and make the folders of their files."""
    made: set[Path] = set()
    for record in source.records:
        image, panoptic = (Path(record[k]).relative_to(source.root) for k in ("file_name", "pan_seg_file_name"))
        labels, written = None, [image, panoptic]
        if source.has_label_maps:
            stem = image.name.removesuffix(IMAGE_SUFFIX)
            labels = Path("gtFine", source.split, image.parent.name, f"{stem}_gtFine")
            written += [Path(f"{labels}_{kind}.png") for kind in LABEL_MAPS]
        outputs = []
        for copy in copies:
            if record["image_id"] in copy.files.done and all((copy.output / p).exists() for p in written):
                continue
            copy.files.done.pop(record["image_id"], None)
            outputs.append((copy.output, frozenset(copy.label_ids)))
            for folder in {(copy.output / p).parent for p in written} - made:
                folder.mkdir(parents=True, exist_ok=True)
                made.add(folder)
        if outputs:
            label_of = {s["id"]: source.family.categories[s["category_id"]].id for s in record["segments_info"]}
            yield DeletionTask(
                record, label_of, source.root, tuple(outputs), image, panoptic, labels, source.copy_images
            )


def _finish(source: _Source, copy: _OpenCopy) -> None:
    """Write the JSON and the manifest of a copy."""
    from ... import __version__

    document = json.loads(source.content)
    missing = [a["image_id"] for a in document["annotations"] if a["image_id"] not in copy.files.done]
    if missing:
        raise DatasetError(f"{copy.output}: {len(missing)} images were not written; run the same command again.")
    deleted = set(copy.label_ids)
    annotations = [
        {**a, "segments_info": [s for s in a["segments_info"] if s["category_id"] not in deleted]}
        for a in document["annotations"]
    ]
    write_json(source.paths(copy.output).panoptic_json, {**document, "annotations": annotations})
    names = {label_ids: name for name, label_ids in source.family.configurations.items()}
    classes = _count_classes(source.family.categories, deleted, copy.files.done)
    entry = {
        "configuration": names.get(copy.label_ids),
        "deleted": [name for name, c in classes.items() if c.deleted],
        "images": len(annotations),
        "segments": {
            "kept": sum(c.segments for c in classes.values() if not c.deleted),
            "deleted": sum(c.segments for c in classes.values() if c.deleted),
        },
        "classes": {name: asdict(counts) for name, counts in classes.items()},
        "arguments": source.arguments(copy.label_ids),
    }
    copy.files.finish({"name": "zsseg_d2 tools/delete_classes.py", "version": __version__}, entry)


@dataclass
class _ClassCounts:
    """Counts of a class in the source."""

    label_id: int
    deleted: bool
    images: int = 0
    segments: int = 0
    pixels: int = 0


def _count_classes(
    categories: Sequence[PanopticCategory], deleted: set[int], notes: Mapping[object, Sequence[Sequence[int]]]
) -> dict[str, _ClassCounts]:
    """Add up the notes [label id, segments, pixels] of all images, by name of the class."""
    counts = {c.id: _ClassCounts(c.id, c.id in deleted) for c in categories}
    for found in notes.values():
        for label, segments, pixels in found:
            counts[label].images += 1
            counts[label].segments += segments
            counts[label].pixels += pixels
    return {c.name: counts[c.id] for c in categories}
