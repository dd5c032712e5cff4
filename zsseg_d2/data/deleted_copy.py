"""Class-deleted copies of a Cityscapes-format data set, for programs that know nothing of the registrar.

A copy has the layout of its source: images linked or copied, panoptic JSON and PNGs, and the label pictures, all
without the deleted classes. Every file is written beside its place and renamed; the panoptic JSON and ``manifest.json``
come last, so that an interrupted run never looks complete, and a journal lets it go on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from .cityscapes import CATEGORIES, IMAGE_SUFFIX, load_cityscapes_panoptic, panoptic_paths
from .class_deletion import CONFIGURATIONS
from .deleted_pictures import LABEL_PICTURES, PictureTask, write_pictures
from ..files import atomic_path
from .panoptic_png import DatasetError

FORMAT = 1  # raise when the same arguments give other files


@dataclass
class DeletedCopy:
    """One copy to write: where to, and which label ids it goes without."""

    output: Path
    label_ids: tuple[int, ...]
    done: dict = field(default_factory=dict, repr=False)  # image id -> [label id, segments, pixels] of each class
    complete: bool = field(default=False, repr=False)


def write_deleted_copies(
    root: str | os.PathLike,
    split: str,
    copies: Sequence[DeletedCopy],
    *,
    copy_images: bool = False,
    num_workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Write one or several copies of a split; each source picture is decoded once for all of them.

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
        _check_output(copy.output, root)
    for copy in copies:
        _open_copy(copy, split, {**arguments, "deleted_label_ids": list(copy.label_ids)}, records, overwrite)
    pending = [copy for copy in copies if not copy.complete]
    tasks = list(_tasks(root, split, records, pending, copy_images))
    results = write_pictures(tasks, num_workers)
    for image_id, classes in tqdm(results, f"{split}", len(tasks), unit="image", disable=not progress):
        for copy in pending:
            if image_id not in copy.done:
                copy.done[image_id] = classes
                with open(_journal(copy.output, split), "a", encoding="utf-8") as journal:
                    journal.write(json.dumps([image_id, classes]) + "\n")
    for copy in pending:
        _finish(copy, split, {**arguments, "deleted_label_ids": list(copy.label_ids)}, document)


def _check_output(output: Path, root: Path) -> None:
    """Refuse an output that would write into the source, also through links."""
    inputs = [root.resolve(), (root / "gtFine").resolve(), (root / "leftImg8bit").resolve()]
    for target in (output.resolve(), (output / "gtFine").resolve(), (output / "leftImg8bit").resolve()):
        if any(target == i or i in target.parents for i in inputs):
            raise DatasetError(
                f"The output {output} lies inside the input {root}, which is never written to; choose another."
            )


def _journal(output: Path, split: str) -> Path:
    return output / f".delete_classes_{split}.jsonl"


def _own_paths(output: Path, split: str) -> list[Path]:
    """All that a run for `split` writes besides manifest and journal; the JSON, which makes it loadable, first."""
    paths = panoptic_paths(output, split)
    return [Path(paths[k]) for k in ("panoptic_json", "panoptic_root", "image_root")] + [output / "gtFine" / split]


def _read_manifest(output: Path) -> dict:
    try:
        manifest = json.loads((output / "manifest.json").read_bytes())
        return manifest if isinstance(manifest["splits"], dict) else {"splits": {}}
    except (OSError, ValueError, TypeError, KeyError):
        return {"splits": {}}


def _open_copy(copy: DeletedCopy, split: str, arguments: dict, records: Sequence[dict], overwrite: bool) -> None:
    """Find out what is there already: a complete copy, an interrupted one, nothing, or something else."""
    entry = _read_manifest(copy.output)["splits"].get(split)
    lines = _read_journal(_journal(copy.output, split))
    there = [path for path in _own_paths(copy.output, split) if path.exists()]
    known = entry["arguments"] if entry else lines[0] if lines else None
    if known is None and there:
        raise DatasetError(f"{there[0]} exists and was not made by this tool; choose another output.")
    if known not in (None, arguments) and not overwrite:
        raise DatasetError(
            f"{copy.output} holds a '{split}' made with other arguments or from another source; give --overwrite to "
            "replace it, or choose another output."
        )
    if known == arguments and not overwrite:
        copy.complete = entry is not None and _all_there(copy.output, split, records)
        if copy.complete:
            _journal(copy.output, split).unlink(missing_ok=True)
            return
        copy.done = {image_id: classes for image_id, classes in lines[1:]}
    if overwrite or not lines:
        _forget(copy.output, split)
        copy.output.mkdir(parents=True, exist_ok=True)
    # Also when going on: a line that was cut off must not swallow the next one.
    with atomic_path(_journal(copy.output, split)) as beside:
        beside.write_text(
            "".join(json.dumps(line) + "\n" for line in (arguments, *copy.done.items())), encoding="utf-8"
        )


def _read_journal(path: Path) -> list:
    """The arguments, then ``[image id, classes]`` of each finished image; a line that was cut off is left out."""
    found = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            found.append(json.loads(line))
    except (OSError, ValueError):
        pass
    return found


def _forget(output: Path, split: str) -> None:
    """Remove an earlier run's files of this split; links are removed, not followed."""
    manifest = _read_manifest(output)
    if manifest["splits"].pop(split, None) is not None:
        _write_json(output / "manifest.json", manifest)
    _journal(output, split).unlink(missing_ok=True)
    for path in _own_paths(output, split):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _all_there(output: Path, split: str, records: Sequence[dict]) -> bool:
    try:
        return len(load_cityscapes_panoptic(output, split)) == len(records)
    except DatasetError:
        return False


def _tasks(
    root: Path, split: str, records: Iterable[dict], copies: Sequence[DeletedCopy], copy_images: bool
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
            if record["image_id"] in copy.done and all((copy.output / p).exists() for p in written):
                continue
            copy.done.pop(record["image_id"], None)
            outputs.append((copy.output, frozenset(copy.label_ids)))
            for folder in {(copy.output / p).parent for p in written} - made:
                folder.mkdir(parents=True, exist_ok=True)
                made.add(folder)
        if outputs:
            yield PictureTask(record, root, tuple(outputs), image, panoptic, labels, copy_images)


def _finish(copy: DeletedCopy, split: str, arguments: dict, document: Mapping) -> None:
    missing = [a["image_id"] for a in document["annotations"] if a["image_id"] not in copy.done]
    if missing:
        raise DatasetError(f"{copy.output}: {len(missing)} images were not written; run the same command again.")
    gone = set(copy.label_ids)
    annotations = [
        {**a, "segments_info": [s for s in a["segments_info"] if s["category_id"] not in gone]}
        for a in document["annotations"]
    ]
    _write_json(Path(panoptic_paths(copy.output, split)["panoptic_json"]), {**document, "annotations": annotations})
    names = {label_ids: name for name, label_ids in CONFIGURATIONS.items()}
    classes = {
        c.name: {"label_id": c.id, "deleted": c.id in gone, "images": 0, "segments": 0, "pixels": 0} for c in CATEGORIES
    }
    by_label = {c.id: classes[c.name] for c in CATEGORIES}
    for found in copy.done.values():
        for label, segments, pixels in found:
            for key, value in (("images", 1), ("segments", segments), ("pixels", pixels)):
                by_label[label][key] += value
    from .. import __version__

    manifest = _read_manifest(copy.output)
    manifest["tool"] = {"name": "zsseg_d2 tools/delete_classes.py", "version": __version__}
    manifest["splits"][split] = {
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
    _write_json(copy.output / "manifest.json", manifest)
    _journal(copy.output, split).unlink(missing_ok=True)


def _write_json(path: Path, content: object) -> None:
    with atomic_path(path) as beside:
        beside.write_text(json.dumps(content), encoding="utf-8")
