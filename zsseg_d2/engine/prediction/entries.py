"""What is noted of each finished image or frame, and what follows from it: names of files, COCO entries, a table."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec

from ...data.panoptic.categories import PanopticCategory
from .inputs import Source
from .result import Prediction

KINDS = ("overlay", "panoptic", "semantic", "clusters")
"""Folders of results, a file for each image."""

_COLUMNS = ("image", "segment", "class", "kind", "score", "area", "x", "y", "width", "height")


class ImageEntry(TypedDict):
    """An entry of "images" in COCO panoptic format."""

    id: str
    file_name: str
    height: int
    width: int


class SegmentEntry(TypedDict):
    """A segment in COCO panoptic format, with its score."""

    id: int
    category_id: int
    area: int
    bbox: Annotated[list[int], msgspec.Meta(min_length=4, max_length=4)]
    iscrowd: int
    score: float


class AnnotationEntry(TypedDict):
    """An entry of "annotations" in COCO panoptic format."""

    image_id: str
    file_name: str
    segments_info: list[SegmentEntry]


class OriginEntry(msgspec.Struct, frozen=True):
    """A cluster whose captions name a word; see :class:`zsseg_d2.auto_vocabulary.words.Origin`, clusters from 1."""

    cluster: int
    caption: str
    named: float
    share: float


class WordEntry(msgspec.Struct, frozen=True):
    """A word that was found in an image; see :class:`zsseg_d2.auto_vocabulary.words.Word`."""

    category_id: Annotated[int, msgspec.Meta(ge=1)]
    name: str
    synonyms: tuple[str, ...]
    thing: bool
    score: float
    share: float
    origins: tuple[OriginEntry, ...]


class Entry(msgspec.Struct):
    """A finished image: a line of the journal.

    Attributes:
        source: the image's file, or the video.
        stamp: its size in bytes and its time of modification in nanoseconds.
        name: of the results of the file.
        image: its entry of "images" in COCO panoptic format.
        annotation: its entry of "annotations".
        instances: in COCO's format of results; None if they were not asked for.
        frame: of the video, counted from 0.
        words: found in the image; None if they were given.
    """

    source: str
    stamp: tuple[int, int]
    name: str
    image: ImageEntry
    annotation: AnnotationEntry
    instances: list[dict[str, Any]] | None = None
    frame: Annotated[int, msgspec.Meta(ge=0)] | None = None
    words: tuple[WordEntry, ...] | None = None

    @property
    def key(self) -> Source:
        """The image or the frame, with an absolute path."""
        return Source(Path(self.source), self.frame)


def files_of(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield kind and file of the results of an image or a frame; a frame has no overlay of its own."""
    for kind in KINDS if entry.frame is None else KINDS[1:]:
        yield kind, f"{kind}/{numbered(entry.name, entry.frame)}.{'jpg' if kind == 'overlay' else 'png'}"


def word_entries(found: Prediction) -> tuple[WordEntry, ...] | None:
    """Return the words that were found in an image, None if they were given."""
    if found.found is None:
        return None
    return tuple(
        WordEntry(
            category.id,
            word.name,
            word.synonyms,
            word.thing,
            round(word.score, 6),
            round(word.share, 6),
            tuple(OriginEntry(o.cluster + 1, o.caption, round(o.named, 6), round(o.share, 6)) for o in word.origins),
        )
        for word, category in zip(found.found.words, found.categories)
    )


def numbered(name: str, frame: int | None) -> str:
    """Return the name of the results of an image, or of a frame: ``film/000001`` of the first."""
    return name if frame is None else f"{name}/{frame + 1:06d}"


def with_file_names(images: Sequence[Mapping[str, Any]], sources: Sequence[Source]) -> list[dict[str, Any]]:
    """Return the entries of "images" with the files that they come from, and the numbers of frames from 1.

    Files are relative to the deepest folder that holds them all, with ``/`` between folders.
    """
    paths = [source.path.absolute() for source in sources]
    try:
        common = os.path.commonpath([path.parent for path in paths])
        names = [path.relative_to(common).as_posix() for path in paths]
    except ValueError:  # none, or on several drives
        names = [path.name for path in paths]
    return [
        {**image, "file_name": name, **({} if source.frame is None else {"frame": source.frame + 1})}
        for image, name, source in zip(images, names, sources)
    ]


def segment_table(entries: Sequence[Entry], categories: Sequence[PanopticCategory]) -> str:
    """Return a CSV table with a line for each segment."""
    by_id = {category.id: category for category in categories}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for entry in entries:
        for s in entry.annotation["segments_info"]:
            category = by_id[s["category_id"]]
            kind = "thing" if category.isthing else "stuff"
            writer.writerow(
                [numbered(entry.name, entry.frame), s["id"], category.name, kind, s["score"], s["area"], *s["bbox"]]
            )
    return text.getvalue()
