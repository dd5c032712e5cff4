"""A folder of predictions, written image by image and frame by frame, so that an interrupted run resumes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ...data.panoptic.categories import PanopticCategory
from ...data.panoptic.png import read_panoptic_png
from ...data.panoptic.split_writer import write_json
from ...data.videos.writing import SUFFIX
from ...evaluation.panoptic.overlay import NamedSegment
from ...files import atomic_path
from ...reading import JSON_LIMIT, UnusableFile, decode_json, printable, read_lines
from ..errors import ConfigError
from .entries import (
    KINDS,
    AnnotationEntry,
    Entry,
    ImageEntry,
    files_of,
    numbered,
    segment_table,
    with_file_names,
    word_entries,
)
from .inputs import Source, name_images
from .result import Prediction, coco_panoptic, encoded

JOURNAL = ".predictions.jsonl"
PANOPTIC, INSTANCES, SEGMENTS, WORDS = "panoptic.json", "instances.json", "segments.csv", "words.json"
_REMEDY = "give --overwrite, or another --output"


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
        there = next((n for n in (PANOPTIC, INSTANCES, SEGMENTS, WORDS) if (folder / n).exists()), None)
        if known is None and there:
            raise ConfigError(f"{folder / there}: exists, and was not made by this program. Fix: another --output.")
        if known is not None and known != settings:
            keys = ", ".join(k for k in {**known, **settings} if known.get(k) != settings.get(k))
            raise ConfigError(f"{folder}: holds predictions with other settings ({keys}). Fix: {_REMEDY}.")
        classes = {number for number, *_ in settings["classes"]}
        for entry in self.entries.values():
            classes |= {word.category_id for word in entry.words or ()}
            if not {s["category_id"] for s in entry.annotation["segments_info"]} <= classes:
                raise UnusableFile(f"{printable(folder / JOURNAL)}: has segments of unknown classes. Fix: {_REMEDY}.")
        # Also when resuming: a line that was cut off must not swallow the next one.
        with atomic_path(folder / JOURNAL) as temporary:
            lines = (dict(settings), *self.entries.values())
            temporary.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    def words(self) -> Iterator[tuple[int, str, bool]]:
        """Yield id, name and kind of the words that were found in the finished images."""
        for entry in self.entries.values():
            for word in entry.words or ():
                yield word.category_id, word.name, word.thing

    def names(self, paths: Sequence[Path]) -> dict[Path, str]:
        """Return a name for the results of each image; see :func:`zsseg_d2.engine.prediction.inputs.name_images`."""
        taken = {key.path: entry.name for key, entry in self.entries.items()}
        given = name_images([path.absolute() for path in paths], taken)
        return {path: given[path.absolute()] for path in paths}

    def is_done(self, source: Source, *, semantic: bool, instances: bool, clusters: bool = False) -> bool:
        """Return whether the results of this very file are there, those that are asked for among them."""
        entry = self.entries.get(_key(source))
        if entry is None or entry.stamp != _stamp(source.path) or (instances and entry.instances is None):
            return False
        files = dict(files_of(entry))
        asked = {"semantic": semantic, "clusters": clusters}
        wanted = [kind for kind in files if asked.get(kind, True)]
        return all((self.folder / files[kind]).is_file() for kind in wanted)

    def check_instances(self, paths: Sequence[Path]) -> None:
        """Check that all results have instances but for those of some files, which are computed again.

        Raises:
            ConfigError: an image that is not among `paths` has none, so that ``instances.json`` would lack it.
        """
        given = {path.absolute() for path in paths}
        lacking = {key.path for key, e in self.entries.items() if e.instances is None and key.path not in given}
        if lacking:
            raise ConfigError(
                f"{printable(self.folder / INSTANCES)}: finished images have no instances ({len(lacking)}, such as "
                f"{printable(min(lacking))}). Fix: name them too, which computes them again; or leave out --instances, "
                "and remove that file if it is there; or give another --output."
            )

    def frames(self, path: Path) -> list[Source]:
        """Return the finished frames of a video, in their order."""
        return sorted(Source(path, frame) for source, frame in self.entries if source == path.absolute())

    def forget_frames(self, path: Path, kept: Sequence[Source]) -> None:
        """Forget the frames of a video that it no longer has, as another one may stand under its name now."""
        for key in {_key(frame) for frame in self.frames(path)} - {_key(frame) for frame in kept}:
            for _, name in files_of(self.entries.pop(key)):
                (self.folder / name).unlink(missing_ok=True)

    def video(self, name: str) -> Path:
        """Return where the annotated video is that `name` was given to; see :meth:`names`."""
        return self.folder / "overlay" / f"{name}{SUFFIX}"

    def shown(self, source: Source, categories: Sequence[PanopticCategory]) -> tuple[np.ndarray, list[NamedSegment]]:
        """Return the (H, W) ids and the segments of a finished image, to be drawn.

        Raises:
            DatasetError: the panoptic PNG is missing or damaged.
        """
        entry, by_id = self.entries[_key(source)], {category.id: category for category in categories}
        segments = []
        for s in entry.annotation["segments_info"]:
            category = by_id[s["category_id"]]
            segments.append(NamedSegment(s["id"], category.name, category.color, s["score"], s["area"]))
        return self._ids(entry), segments

    def add(self, source: Source, name: str, found: Prediction, *, clusters: bool = False) -> None:
        """Write the files of an image or a frame, then note that it is finished.

        Args:
            source: the image or the frame.
            name: of the results of the file.
            found: the result.
            clusters: also write the clusters in which its words were found.
        """
        number = numbered(name, source.frame)
        found.save_images(self.folder, number, overlay=source.frame is None, clusters=clusters)
        entry = Entry(
            str(source.path.absolute()),
            _stamp(source.path),
            name,
            msgspec.convert(found.coco_image(number), ImageEntry),
            msgspec.convert(found.coco_annotation(number), AnnotationEntry),
            None if found.instances is None else found.coco_instances(number),
            source.frame,
            word_entries(found),
        )
        self.entries[entry.key] = entry
        with open(self.folder / JOURNAL, "ab") as journal:
            journal.write(msgspec.json.encode(entry) + b"\n")

    def finish(self, categories: tuple[PanopticCategory, ...], *, instances: bool, table: bool) -> None:
        """Write the files about all images of the folder, in the order of their names.

        Args:
            categories: (K,) of the settings, or of all words that were found.
            instances: write ``instances.json``; must be given if it is there (:func:`has_instances`).
            table: write ``segments.csv``; it is written in any case if it is there.
        """
        entries = [self.entries[key] for key in self._keys()]
        write_json(self.folder / PANOPTIC, self.to_coco(categories))
        if instances:
            write_json(self.folder / INSTANCES, [i for entry in entries for i in entry.instances or ()])
        if any(entry.words is not None for entry in entries):
            write_json(self.folder / WORDS, self._words_of_images())
        if table or (self.folder / SEGMENTS).exists():
            with atomic_path(self.folder / SEGMENTS) as temporary:
                temporary.write_text(segment_table(entries, categories), encoding="utf-8")

    def to_coco(
        self, categories: tuple[PanopticCategory, ...], sources: Sequence[Source] | None = None, *, rle: bool = False
    ) -> dict[str, Any]:
        """Return the images in COCO panoptic format; their files are relative to the folder that holds them all.

        Args:
            categories: (K,) of the settings.
            sources: finished images and frames; None: all of the folder, by their names.
            rle: add the mask of each segment, read from the PNGs.
        """
        wanted = self._keys() if sources is None else [_key(source) for source in sources]
        entries = [self.entries[key] for key in wanted]
        images = with_file_names([entry.image for entry in entries], wanted)
        annotations = [self._with_masks(entry) if rle else entry.annotation for entry in entries]
        return coco_panoptic(images, annotations, categories)

    def _words_of_images(self) -> dict[str, Any]:
        """Return the words of each image, with their origin."""
        keys = self._keys()
        entries = [self.entries[key] for key in keys]
        images = with_file_names([entry.image for entry in entries], keys)
        return {
            "images": [
                {"id": image["id"], "file_name": image["file_name"], "words": msgspec.to_builtins(entry.words)}
                for image, entry in zip(images, entries)
            ]
        }

    def _keys(self) -> list[Source]:
        """Return the finished images and frames by name and number, in whatever order they were finished."""
        return sorted(self.entries, key=lambda key: (self.entries[key].name, key.frame or 0))

    def _ids(self, entry: Entry) -> np.ndarray:
        return read_panoptic_png(self.folder / dict(files_of(entry))["panoptic"], max_pixels=2**31)

    def _with_masks(self, entry: Entry) -> dict[str, Any]:
        ids = self._ids(entry)
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
            for _, name in files_of(entry):
                (self.folder / name).unlink(missing_ok=True)
            if entry.frame is not None:
                self.video(entry.name).unlink(missing_ok=True)
                for kind in KINDS[1:]:
                    with suppress(OSError):  # not there, or not empty
                        (self.folder / kind / entry.name).rmdir()
        for name in (JOURNAL, PANOPTIC, INSTANCES, SEGMENTS, WORDS):
            (self.folder / name).unlink(missing_ok=True)

    def _read(self) -> tuple[dict | None, dict[Source, Entry]]:
        path = self.folder / JOURNAL
        try:
            lines = read_lines(path, JSON_LIMIT, remedy=_REMEDY)
            first = next(lines, None)
        except FileNotFoundError:
            return None, {}
        if first is None:
            return None, {}
        settings = decode_json(first, dict[str, Any], path, remedy=_REMEDY)
        entries = [decode_json(line, Entry, path, remedy=_REMEDY) for line in lines]
        for entry in entries:
            if entry.name in ("", ".", "..") or set(entry.name) & set("/\\\0"):
                raise UnusableFile(f"{printable(path)}: '{printable(entry.name)}' is damaged. Fix: {_REMEDY}.")
        newest = {entry.source: entry.stamp for entry in entries}  # of a video that was replaced, no old frame counts
        return settings, {
            entry.key: entry for entry in entries if entry.frame is None or entry.stamp == newest[entry.source]
        }


def has_instances(folder: Path) -> bool:
    """Return whether a folder of predictions holds ``instances.json``, so that later images need instances, too."""
    return (folder / INSTANCES).exists()


def _key(source: Source) -> Source:
    return Source(source.path.absolute(), source.frame)


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def print_json(content: Mapping[str, Any], target: str) -> None:
    """Write JSON to a file, or to standard output if `target` is ``-``."""
    if target == "-":
        print(json.dumps(content), flush=True)
    else:
        write_json(Path(target), content)
