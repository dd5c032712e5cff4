"""Writing pseudo-labels as an ordinary panoptic dataset, image by image (see :mod:`..panoptic.split_writer`).

The dataset holds linked images, the JSON and the PNGs, but no label maps or polygons of the source, which would show
the deleted classes. Each segment of the JSON has ``score`` (null for ground truth) and ``origin``. Nothing that is
written, the manifest included, depends on ground truth of a deleted class.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np

from ...reading import JSON_LIMIT, read_bytes
from ..errors import DatasetError
from ..panoptic.family import PanopticFamily
from ..panoptic.png import check_segments, read_panoptic_png, write_panoptic_png
from ..panoptic.registration import PanopticPaths
from ..panoptic.split_writer import ResumableSplitWriter, check_outside, provide_image, write_json
from .dataset import FORMAT, KIND, REGIONS, check_pseudo_labels
from .regions import RegionSettings, find_regions
from .summary import summarize
from .targets import ZERO_SHOT, Thresholds, add_pseudo_labels

TOOL = "make_pseudo_labels"

NameRegions = Callable[[np.ndarray], Sequence[tuple[int, float] | None]]
"""Numbers of the regions (H, W) -> contiguous id and score of each, in the order of the numbers; None: no target."""


class LabeledSegment(TypedDict):
    """A segment as the JSON has it; the score of ground truth is None."""

    id: int
    category_id: int
    iscrowd: int
    area: int
    bbox: list[int | float]
    score: float | None
    origin: str


@dataclass
class PseudoLabelSet:
    """A dataset of pseudo-labels that is being written.

    Args:
        family: the dataset whose images and kept labels are used.
        split: a split of the family.
        configuration: the name of the deleted classes.
        output: the folder to write to.
        thresholds: the least that a predicted segment needs.
        regions: which regions without labels become targets; None: the predicted segments do.

    Attributes:
        records: records after deletion; no other ground truth is ever read.
        files: the files written so far; its notes are the segments of each image, as in the JSON.
    """

    family: PanopticFamily
    split: str
    configuration: str
    output: Path
    thresholds: Thresholds
    regions: RegionSettings | None = None
    records: list[dict] = field(init=False, repr=False)
    files: ResumableSplitWriter = field(init=False, repr=False)
    _arguments: dict = field(init=False, repr=False)

    @property
    def kind(self) -> str:
        """Which of :data:`.dataset.KINDS` is written."""
        return KIND if self.regions is None else REGIONS

    @property
    def paths(self) -> PanopticPaths:
        """Where the files are written."""
        return self.family.layout.paths(self.output, self.split)

    def check(self, predictions: Mapping, overwrite: bool = False) -> None:
        """Read the source, and check that :meth:`open` would write here; changes nothing.

        Args:
            predictions: as in :meth:`open`.
            overwrite: as in :meth:`open`.

        Raises:
            DatasetError: as in :meth:`open`.
        """
        self._read(predictions)
        self.files.check(self._arguments, overwrite)

    def open(self, predictions: Mapping, overwrite: bool = False) -> list[dict]:
        """Read the source, and determine which images are not finished.

        Only one process may do so at a time (:func:`zsseg_d2.folder_lock.writing`).

        Args:
            predictions: everything that determines the predictions, as JSON gives it back.
            overwrite: replace files that were written with other arguments.

        Returns:
            The records of the images that are not finished; their folders exist.

        Raises:
            DatasetError: the source is incomplete, the configuration is unknown, or the output cannot be used.
        """
        self._read(predictions)
        self.files.open(self._arguments, self._is_complete, overwrite)
        noted = (segment["category_id"] for note in self.files.done.values() for segment in note)
        self.files.check_notes(noted, {c.id for c in self.family.categories})
        return [] if self.files.complete else list(self._pending())

    def _read(self, predictions: Mapping) -> None:
        """Read the source."""
        self.family.require_panoptic("pseudo-labels")
        self.family.deleted_ids(self.configuration)  # raises for a configuration that deletes nothing
        self.records = self.family.load(self.split, self.configuration)
        source = self.family.folder()
        check_outside(self.paths, self.family.paths(self.split), self.output, source)
        self._arguments = {
            "format": FORMAT,
            # Relative, like the links to the images, so that both folders can be moved together.
            "source": os.path.relpath(source.resolve(), self.output.resolve()),
            "source_sha256": _fingerprint(self.records),
            "split": self.split,
            "configuration": self.configuration,
            "deleted_label_ids": list(self.family.deleted_label_ids(self.configuration)),
            "thresholds": asdict(self.thresholds),
            **({} if self.regions is None else {"regions": asdict(self.regions)}),
            **predictions,
        }
        own = [self.paths.panoptic_json, self.paths.panoptic_root, self.paths.image_root]
        self.files = ResumableSplitWriter(self.output, own, split=self.split, tool=TOOL, note=list[LabeledSegment])

    def add(
        self,
        record: Mapping,
        predicted_ids: np.ndarray,
        predicted: Sequence[Mapping],
        part: int | None = None,
        name: NameRegions | None = None,
    ) -> None:
        """Write the files of one image.

        Args:
            record: one that :meth:`open` returned.
            predicted_ids: (H, W) segment ids of the prediction.
            predicted: the segments, each with id, category_id and score.
            part: number of this process, if there are several.
            name: names the regions without labels, if they become targets.

        Raises:
            DatasetError: the panoptic PNG is missing, damaged, or does not belong to the record.
        """
        ids = read_panoptic_png(record["pan_seg_file_name"], predicted_ids.shape)
        check_segments(ids, record["segments_info"], record["pan_seg_file_name"], complete=False)
        kept = record["segments_info"]
        fill = partial(
            add_pseudo_labels,
            ids,
            kept,
            deleted=self.family.deleted_ids(self.configuration),
            categories=self.family.categories,
        )
        labeled, segments = fill(predicted_ids, predicted, thresholds=self.thresholds)
        if self.regions is not None and name is not None:
            parts = np.where(np.isin(labeled, [s["id"] for s in segments if s["origin"] == ZERO_SHOT]), labeled, 0)
            regions = find_regions((labeled == 0) | (parts > 0), parts, self.regions)
            found = enumerate(name(regions), start=1)
            named = [{"id": n, "category_id": c[0], "score": c[1]} for n, c in found if c is not None]
            labeled, segments = fill(regions, named, thresholds=Thresholds(0.0, self.regions.min_area, 0.0))
        image, panoptic = self._targets(record)
        provide_image(Path(record["file_name"]), image)
        write_panoptic_png(panoptic, labeled)
        keys = ("id", "category_id", "iscrowd", "area", "bbox", "score", "origin")
        label_ids = [c.id for c in self.family.categories]
        note = [{k: s[k] for k in keys} | {"category_id": label_ids[s["category_id"]]} for s in segments]
        self.files.add(record["image_id"], note, part)

    def finish(self, model: Mapping, seconds: float | None = None) -> dict:
        """Write JSON and manifest, once all images are written.

        Args:
            model: entries of the manifest about the model, besides the arguments.
            seconds: time that all images took; None if it is unknown because the run was resumed.

        Returns:
            The split's entry in the manifest.

        Raises:
            DatasetError: an image was not written.
        """
        from ... import __version__

        self.files.collect()
        done = self.files.done
        missing = sum(r["image_id"] not in done for r in self.records)
        if missing:
            raise DatasetError(f"{self.output}: {missing} images were not labelled; run the same command again.")
        json_file = self.paths.panoptic_json
        write_json(json_file, self._document())
        deleted, categories = self.family.deleted_ids(self.configuration), self.family.categories
        entry = {
            "kind": self.kind,
            "configuration": self.configuration,
            "deleted": [categories[k].name for k in deleted],
            "images": len(self.records),
            **summarize(done.values(), categories, deleted),
            "seconds": None if seconds is None else round(seconds, 1),
            "panoptic_json_sha256": hashlib.sha256(json_file.read_bytes()).hexdigest(),
            **model,
            "arguments": self._arguments,
        }
        self.files.finish({"name": "zsseg_d2 tools/make_pseudo_labels.py", "version": __version__}, entry)
        return entry

    def _document(self) -> dict:
        """Return the content of the panoptic JSON."""
        source = json.loads(read_bytes(self.family.paths(self.split).panoptic_json, JSON_LIMIT))
        annotations = [
            {
                "image_id": r["image_id"],
                "file_name": self._targets(r)[1].relative_to(self.paths.panoptic_root).as_posix(),
                "segments_info": self.files.done[r["image_id"]],
            }
            for r in self.records
        ]
        return {"images": source["images"], "annotations": annotations, "categories": source["categories"]}

    def _is_complete(self) -> bool:
        try:
            check_pseudo_labels(self.output, self.family, self.split, self.configuration, "", self.kind)
            records = self.family.layout.load(self.output, self.split, self.family.categories)
            return len(records) == len(self.records)
        except DatasetError:
            return False

    def _targets(self, record: Mapping) -> tuple[Path, Path]:
        """Return image and panoptic PNG of a record in the output."""
        source = self.family.paths(self.split)
        image = Path(record["file_name"]).relative_to(source.image_root)
        panoptic = Path(record["pan_seg_file_name"]).relative_to(source.panoptic_root)
        return self.paths.image_root / image, self.paths.panoptic_root / panoptic

    def _pending(self) -> Iterator[dict]:
        """Yield the records of unfinished images, and make the folders of their files."""
        made: set[Path] = set()
        for record in self.records:
            written = self._targets(record)
            if record["image_id"] in self.files.done and all(path.exists() for path in written):
                continue
            self.files.done.pop(record["image_id"], None)
            for folder in {path.parent for path in written} - made:
                folder.mkdir(parents=True, exist_ok=True)
                made.add(folder)
            yield record


def _fingerprint(records: Sequence[Mapping]) -> str:
    """Return a hash of the records after deletion, which changes with the source and with the kept labels."""
    content = [[r["image_id"], Path(r["pan_seg_file_name"]).name, r["segments_info"]] for r in records]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
