"""Class-deleted copies of a Cityscapes-format data set, for programs that know nothing of the registrar.

A copy has the layout of its source: images linked or copied, panoptic JSON and PNGs, and the label pictures, all
without the deleted classes. How it is written, and how an interrupted run goes on: :mod:`.output_split`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ..panoptic.cityscapes import CATEGORIES, IMAGE_SUFFIX, load_cityscapes_panoptic, panoptic_paths
from ..panoptic.png import DatasetError
from ..panoptic.split_writer import ResumableSplitWriter, check_outside, write_json
from .configurations import CONFIGURATIONS
from .label_maps import LABEL_PICTURES, PictureTask, write_pictures

FORMAT = 1  # raise when the same arguments give other labels or entries


@dataclass
class ClassDeletedExport:
    """One copy to write: where to, and which label ids it goes without."""

    output: Path
    label_ids: tuple[int, ...]
    files: ResumableSplitWriter | None = field(
        default=None, repr=False
    )  # notes [label id, segments, pixels] of each class

    @property
    def complete(self) -> bool:
        """Whether there was nothing to do."""
        return self.files is not None and self.files.complete


def write_deleted_copies(
    root: str | os.PathLike,
    split: str,
    copies: Sequence[ClassDeletedExport],
    *,
    copy_images: bool = False,
    num_workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Write one or several copies of a split; each source picture is decoded once for all of them, and what they have in
    common is encoded once.

    Args:
        root: a data set in Cityscapes layout with its panoptic files; never written to.
        split: ``"train"``, ``"val"`` or any other folder name.
        copies: a copy that is already complete is left as it is, one that was interrupted is continued.
        copy_images: copy the images instead of linking to them.
        num_workers: processes; None: one a usable core.
        overwrite: replace what an earlier run with other arguments wrote.
        progress: show a progress bar.
    Raises:
        DatasetError: the source is incomplete or inconsistent, or an output cannot be used.
    """
    root = Path(root)
    records = load_cityscapes_panoptic(root, split)
    source = Path(panoptic_paths(root, split)["panoptic_json"])
    content = source.read_bytes()
    arguments = {
        "format": FORMAT,
        "source": str(root.resolve()),
        "source_json_sha256": hashlib.sha256(content).hexdigest(),
        "split": split,
        "images": "copied" if copy_images else "linked",
    }
    document = json.loads(content)
    for copy in copies:
        check_outside(copy.output, root)
    for copy in copies:
        copy.files = ResumableSplitWriter(
            copy.output, _own_paths(copy.output, split), split=split, tool="delete_classes"
        )
        copy.files.open(
            {**arguments, "deleted_label_ids": list(copy.label_ids)},
            lambda output=copy.output: _all_there(output, split, records),
            overwrite,
        )
    pending = [copy for copy in copies if not copy.complete]
    tasks = list(_tasks(root, split, records, pending, copy_images))
    results = write_pictures(tasks, num_workers)
    for image_id, classes in tqdm(results, f"{split}", len(tasks), unit="image", disable=not progress):
        for copy in pending:
            if image_id not in copy.files.done:
                copy.files.add(image_id, classes)
    for copy in pending:
        _finish(copy, split, {**arguments, "deleted_label_ids": list(copy.label_ids)}, document)


def _own_paths(output: Path, split: str) -> list[Path]:
    """All that a run for `split` writes besides manifest and journal."""
    paths = panoptic_paths(output, split)
    return [Path(paths[k]) for k in ("panoptic_json", "panoptic_root", "image_root")] + [output / "gtFine" / split]


def _all_there(output: Path, split: str, records: Sequence[dict]) -> bool:
    try:
        return len(load_cityscapes_panoptic(output, split)) == len(records)
    except DatasetError:
        return False


def _tasks(
    root: Path, split: str, records: Iterable[dict], copies: Sequence[ClassDeletedExport], copy_images: bool
) -> Iterator[PictureTask]:
    """The images that some copy still lacks; makes the folders they go to."""
    made: set[Path] = set()
    for record in records:
        file_name, png = Path(record["file_name"]), Path(record["pan_seg_file_name"])
        stem = file_name.name.removesuffix(IMAGE_SUFFIX)
        labels = Path("gtFine", split, file_name.parent.name, f"{stem}_gtFine")
        image, panoptic = file_name.relative_to(root), png.relative_to(root)
        outputs = []
        for copy in copies:
            written = (image, panoptic, *(Path(f"{labels}_{kind}.png") for kind in LABEL_PICTURES))
            if record["image_id"] in copy.files.done and all((copy.output / p).exists() for p in written):
                continue
            copy.files.done.pop(record["image_id"], None)
            outputs.append((copy.output, frozenset(copy.label_ids)))
            for folder in {(copy.output / p).parent for p in written} - made:
                folder.mkdir(parents=True, exist_ok=True)
                made.add(folder)
        if outputs:
            yield PictureTask(record, root, tuple(outputs), image, panoptic, labels, copy_images)


def _finish(copy: ClassDeletedExport, split: str, arguments: dict, document: Mapping) -> None:
    missing = [a["image_id"] for a in document["annotations"] if a["image_id"] not in copy.files.done]
    if missing:
        raise DatasetError(f"{copy.output}: {len(missing)} images were not written; run the same command again.")
    gone = set(copy.label_ids)
    annotations = [
        {**a, "segments_info": [s for s in a["segments_info"] if s["category_id"] not in gone]}
        for a in document["annotations"]
    ]
    write_json(Path(panoptic_paths(copy.output, split)["panoptic_json"]), {**document, "annotations": annotations})
    names = {label_ids: name for name, label_ids in CONFIGURATIONS.items()}
    classes = {
        c.name: {"label_id": c.id, "deleted": c.id in gone, "images": 0, "segments": 0, "pixels": 0} for c in CATEGORIES
    }
    by_label = {c.id: classes[c.name] for c in CATEGORIES}
    for found in copy.files.done.values():
        for label, segments, pixels in found:
            for key, value in (("images", 1), ("segments", segments), ("pixels", pixels)):
                by_label[label][key] += value
    from ... import __version__

    entry = {
        "configuration": names.get(copy.label_ids),
        "deleted": [c.name for c in CATEGORIES if c.id in gone],
        "images": len(annotations),
        "segments": {
            "kept": sum(c["segments"] for c in classes.values() if not c["deleted"]),
            "deleted": sum(c["segments"] for c in classes.values() if c["deleted"]),
        },
        "classes": classes,
        "arguments": arguments,
    }
    copy.files.finish({"name": "zsseg_d2 tools/delete_classes.py", "version": __version__}, entry)
