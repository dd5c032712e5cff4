"""A folder of predictions, written image by image, so that an interrupted run resumes."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec

from ...data.panoptic.categories import PanopticCategory
from ...data.panoptic.png import read_panoptic_png
from ...data.panoptic.split_writer import write_json
from ...files import atomic_path
from ...reading import JSON_LIMIT, UnusableFile, decode_json, printable, read_bytes
from ..errors import ConfigError
from .inputs import name_images
from .result import Prediction, coco_panoptic, encoded

JOURNAL = ".predictions.jsonl"
PANOPTIC, INSTANCES, SEGMENTS = "panoptic.json", "instances.json", "segments.csv"
_KINDS = ("overlay", "panoptic", "semantic")
_COLUMNS = ("image", "segment", "class", "kind", "score", "area", "x", "y", "width", "height")
_REMEDY = "give --overwrite, or another --output"


class _Image(TypedDict):
    id: str
    file_name: str
    height: int
    width: int


class _Segment(TypedDict):
    id: int
    category_id: int
    area: int
    bbox: Annotated[list[int], msgspec.Meta(min_length=4, max_length=4)]
    iscrowd: int
    score: float


class _Annotation(TypedDict):
    image_id: str
    file_name: str
    segments_info: list[_Segment]


class Entry(msgspec.Struct):
    """A finished image: a line of the journal.

    Attributes:
        source: the image's file.
        stamp: its size in bytes and its time of modification in nanoseconds.
        name: of its results.
        image: its entry of "images" in COCO panoptic format.
        annotation: its entry of "annotations".
        instances: in COCO's format of results; None if they were not asked for.
    """

    source: str
    stamp: tuple[int, int]
    name: str
    image: _Image
    annotation: _Annotation
    instances: list[dict[str, Any]] | None = None


class PredictionFolder:
    """The state of a folder of predictions; only one process may write it (:func:`zsseg_d2.folder_lock.writing`).

    Args:
        folder: must exist.
        settings: all that the results depend on, in JSON's types.
        overwrite: replace results that were written with other settings.

    Raises:
        ConfigError: the folder holds results of other settings, or files of another program.
        UnusableFile: the journal is damaged.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.folder = folder
        if overwrite:
            self._remove()
        known, self.entries = self._read()
        there = next((n for n in (PANOPTIC, INSTANCES, SEGMENTS) if (folder / n).exists()), None)
        if known is None and there:
            raise ConfigError(f"{folder / there}: exists, and was not made by this program. Fix: another --output.")
        if known is not None and known != settings:
            keys = ", ".join(k for k in {**known, **settings} if known.get(k) != settings.get(k))
            raise ConfigError(f"{folder}: holds predictions with other settings ({keys}). Fix: {_REMEDY}.")
        classes = {number for number, *_ in settings["classes"]}
        for entry in self.entries.values():
            if not {s["category_id"] for s in entry.annotation["segments_info"]} <= classes:
                raise UnusableFile(f"{printable(folder / JOURNAL)}: has segments of unknown classes. Fix: {_REMEDY}.")
        # Also when resuming: a line that was cut off must not swallow the next one.
        with atomic_path(folder / JOURNAL) as temporary:
            lines = (dict(settings), *self.entries.values())
            temporary.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    def names(self, paths: Sequence[Path]) -> dict[Path, str]:
        """Return a name for the results of each image; see :func:`zsseg_d2.engine.prediction.inputs.name_images`."""
        taken = {Path(entry.source): entry.name for entry in self.entries.values()}
        given = name_images([path.absolute() for path in paths], taken)
        return {path: given[path.absolute()] for path in paths}

    def is_done(self, path: Path, *, semantic: bool, instances: bool) -> bool:
        """Return whether the results of this very file are there, those that are asked for among them."""
        entry = self.entries.get(str(path.absolute()))
        if entry is None or entry.stamp != _stamp(path) or (instances and entry.instances is None):
            return False
        wanted = dict(_files(entry.name))
        return all((self.folder / wanted[kind]).is_file() for kind in _KINDS[: 3 if semantic else 2])

    def add(self, path: Path, name: str, found: Prediction) -> None:
        """Write the files of an image, then note that it is finished."""
        found.save_images(self.folder, name)
        entry = Entry(
            str(path.absolute()),
            _stamp(path),
            name,
            msgspec.convert(found.coco_image(name), _Image),
            msgspec.convert(found.coco_annotation(name), _Annotation),
            None if found.instances is None else found.coco_instances(name),
        )
        self.entries[entry.source] = entry
        with open(self.folder / JOURNAL, "ab") as journal:
            journal.write(msgspec.json.encode(entry) + b"\n")

    def finish(self, categories: tuple[PanopticCategory, ...], *, instances: bool, table: bool) -> None:
        """Write the files about all images of the folder.

        Args:
            categories: (K,) of the settings.
            instances: write ``instances.json``.
            table: write ``segments.csv``.
        """
        entries = list(self.entries.values())
        write_json(self.folder / PANOPTIC, self.to_coco(categories))
        if instances:
            write_json(self.folder / INSTANCES, [i for entry in entries for i in entry.instances or ()])
        if table:
            with atomic_path(self.folder / SEGMENTS) as temporary:
                temporary.write_text(_table(entries, categories), encoding="utf-8")

    def to_coco(
        self, categories: tuple[PanopticCategory, ...], paths: Sequence[Path] | None = None, *, rle: bool = False
    ) -> dict[str, Any]:
        """Return the images in COCO panoptic format; their files are relative to the folder that holds them all.

        Args:
            categories: (K,) of the settings.
            paths: finished images; None: all of the folder.
            rle: add the mask of each segment, read from the PNGs.
        """
        sources = list(self.entries) if paths is None else [str(path.absolute()) for path in paths]
        entries = [self.entries[source] for source in sources]
        names = relative_names(sources)
        images = [{**entry.image, "file_name": name} for entry, name in zip(entries, names)]
        annotations = [self._with_masks(entry) if rle else entry.annotation for entry in entries]
        return coco_panoptic(images, annotations, categories)

    def _with_masks(self, entry: Entry) -> dict[str, Any]:
        ids = read_panoptic_png(self.folder / "panoptic" / f"{entry.name}.png", max_pixels=2**31)
        segments = [{**s, "segmentation": encoded(ids == s["id"])} for s in entry.annotation["segments_info"]]
        return {**entry.annotation, "segments_info": segments}

    def _remove(self) -> None:
        """Remove what this program wrote, as far as the journal can be read."""
        try:
            known, entries = self._read()
        except UnusableFile:
            known, entries = {}, {}
        if known is None:
            return
        for entry in entries.values():
            for _, name in _files(entry.name):
                (self.folder / name).unlink(missing_ok=True)
        for name in (JOURNAL, PANOPTIC, INSTANCES, SEGMENTS):
            (self.folder / name).unlink(missing_ok=True)

    def _read(self) -> tuple[dict | None, dict[str, Entry]]:
        path = self.folder / JOURNAL
        try:
            lines = read_bytes(path, JSON_LIMIT).split(b"\n")[:-1]  # what follows the last line end was cut off
        except FileNotFoundError:
            return None, {}
        if not lines:
            return None, {}
        settings = decode_json(lines[0], dict[str, Any], path, remedy=_REMEDY)
        entries = [decode_json(line, Entry, path, remedy=_REMEDY) for line in lines[1:]]
        for entry in entries:
            if "/" in entry.name or "\\" in entry.name or "\0" in entry.name:
                raise UnusableFile(f"{printable(path)}: '{printable(entry.name)}' is damaged. Fix: {_REMEDY}.")
        return settings, {entry.source: entry for entry in entries}


def _files(name: str) -> Iterator[tuple[str, str]]:
    """Yield kind and file of the results of an image."""
    for kind in _KINDS:
        yield kind, f"{kind}/{name}.{'jpg' if kind == 'overlay' else 'png'}"


def relative_names(sources: Sequence[str]) -> list[str]:
    """Return the paths of files relative to the deepest folder that holds them all, with ``/`` between folders."""
    try:
        common = Path(os.path.commonpath([str(Path(source).parent) for source in sources]))
    except ValueError:  # none, or on several drives
        return [Path(source).name for source in sources]
    return [Path(source).relative_to(common).as_posix() for source in sources]


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _table(entries: Sequence[Entry], categories: Sequence[PanopticCategory]) -> str:
    by_id = {category.id: category for category in categories}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for entry in entries:
        for s in entry.annotation["segments_info"]:
            category = by_id[s["category_id"]]
            kind = "thing" if category.isthing else "stuff"
            writer.writerow([entry.name, s["id"], category.name, kind, s["score"], s["area"], *s["bbox"]])
    return text.getvalue()


def print_json(content: Mapping[str, Any], target: str) -> None:
    """Write JSON to a file, or to standard output if `target` is ``-``."""
    if target == "-":
        print(json.dumps(content), flush=True)
    else:
        write_json(Path(target), content)
