"""Writes pseudo-labels as an ordinary Cityscapes panoptic data set, image by image (see :mod:`.output_split`).

Besides linked images, JSON and PNGs there are no files: label pictures and polygons of the source would show the deleted
classes. Each segment of the JSON has ``score`` (null for ground truth) and ``origin``. Nothing that is written, the
manifest included, depends on ground truth of a deleted class.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..panoptic.cityscapes import CATEGORIES, Family, load_cityscapes_panoptic, panoptic_paths
from ..panoptic.png import DatasetError, check_segments, read_panoptic_png, write_panoptic_png
from ..panoptic.split_writer import ResumableSplitWriter, check_outside, provide_image, write_json
from .dataset import FORMAT, KIND, check_pseudo_labels, deleted_ids
from .targets import GROUND_TRUTH, ZERO_SHOT, Thresholds, add_pseudo_labels

_LABEL_IDS = tuple(c.id for c in CATEGORIES)
_CLASS_OF = {label: k for k, label in enumerate(_LABEL_IDS)}


@dataclass
class PseudoLabelSet:
    """A data set of pseudo-labels that is being written.

    Args:
        family: whose images and kept labels it takes.
        split: of the family. configuration: the name of the deleted classes.
        output: its folder.
        thresholds: what a predicted segment must have.
    """

    family: Family
    split: str
    configuration: str
    output: Path
    thresholds: Thresholds
    records: list[dict] = field(init=False, repr=False)  # after deletion: no other ground truth is ever looked at
    files: ResumableSplitWriter = field(init=False, repr=False)  # notes the segments of each image, as in the JSON
    _arguments: dict = field(init=False, repr=False)

    def open(self, predictions: Mapping, overwrite: bool = False) -> list[dict]:
        """Read the source, and find out what there is to do.

        Args:
            predictions: all that the predictions follow from, as JSON gives it back.
            overwrite: replace what was written with other arguments.
        Returns:
            The records of the images that are not finished; their folders exist.
        Raises:
            DatasetError: the source is incomplete, the configuration is unknown, or the output cannot be used.
        """
        deleted = deleted_ids(self.configuration)
        self.records = self.family.load(self.split, self.configuration)
        source = self.family.folder()
        check_outside(self.output, source)
        self._arguments = {
            "format": FORMAT,
            # As the links to the images: both folders may move together.
            "source": os.path.relpath(source.resolve(), self.output.resolve()),
            "source_sha256": _fingerprint(self.records),
            "split": self.split,
            "configuration": self.configuration,
            "deleted_label_ids": [_LABEL_IDS[k] for k in deleted],
            "thresholds": asdict(self.thresholds),
            **predictions,
        }
        paths = panoptic_paths(self.output, self.split)
        own = [Path(paths[key]) for key in ("panoptic_json", "panoptic_root", "image_root")]
        self.files = ResumableSplitWriter(self.output, own, split=self.split, tool="make_pseudo_labels")
        self.files.open(self._arguments, self._is_complete, overwrite)
        return [] if self.files.complete else list(self._pending())

    def add(
        self, record: Mapping, predicted_ids: np.ndarray, predicted: Sequence[Mapping], part: int | None = None
    ) -> None:
        """Write the files of one image.

        Args:
            record: one that :meth:`open` returned.
            predicted_ids: (H, W) segment ids of the prediction. predicted: each with id, category_id and score.
            part: number of this process, where there are several.
        Raises:
            DatasetError: the panoptic PNG is missing, damaged, or does not belong to the record.
        """
        ids = read_panoptic_png(record["pan_seg_file_name"], predicted_ids.shape)
        check_segments(ids, record["segments_info"], record["pan_seg_file_name"], complete=False)
        ids, segments = add_pseudo_labels(
            ids,
            record["segments_info"],
            predicted_ids,
            predicted,
            deleted=deleted_ids(self.configuration),
            categories=CATEGORIES,
            thresholds=self.thresholds,
        )
        image, panoptic = self._targets(record)
        provide_image(Path(record["file_name"]), image)
        write_panoptic_png(panoptic, ids)
        keys = ("id", "category_id", "iscrowd", "area", "bbox", "score", "origin")
        note = [{k: s[k] for k in keys} | {"category_id": _LABEL_IDS[s["category_id"]]} for s in segments]
        self.files.add(record["image_id"], note, part)

    def finish(self, model: Mapping, seconds: float | None = None) -> dict:
        """Write JSON and manifest, once all images are there.

        Args:
            model: what the manifest says about the model besides the arguments.
            seconds: that all images took; None: not known, since an interrupted run was gone on with.
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
        paths = panoptic_paths(self.output, self.split)
        source = json.loads(Path(panoptic_paths(self.family.folder(), self.split)["panoptic_json"]).read_bytes())
        annotations = [
            {
                "image_id": r["image_id"],
                "file_name": self._targets(r)[1].relative_to(paths["panoptic_root"]).as_posix(),
                "segments_info": done[r["image_id"]],
            }
            for r in self.records
        ]
        document = {"images": source["images"], "annotations": annotations, "categories": source["categories"]}
        json_file = Path(paths["panoptic_json"])
        write_json(json_file, document)
        entry = {
            "kind": KIND,
            "configuration": self.configuration,
            "deleted": [CATEGORIES[k].name for k in deleted_ids(self.configuration)],
            "images": len(annotations),
            **self._summary(),
            "seconds": None if seconds is None else round(seconds, 1),
            "panoptic_json_sha256": hashlib.sha256(json_file.read_bytes()).hexdigest(),
            **model,
            "arguments": self._arguments,
        }
        self.files.finish({"name": "zsseg_d2 tools/make_pseudo_labels.py", "version": __version__}, entry)
        return entry

    def _is_complete(self) -> bool:
        try:
            check_pseudo_labels(self.output, self.split, self.configuration, "")
            return len(load_cityscapes_panoptic(self.output, self.split)) == len(self.records)
        except DatasetError:
            return False

    def _targets(self, record: Mapping) -> tuple[Path, Path]:
        """Image and panoptic PNG of a record in the output."""
        source = self.family.folder()
        return tuple(self.output / Path(record[k]).relative_to(source) for k in ("file_name", "pan_seg_file_name"))

    def _pending(self) -> Iterator[dict]:
        """Records of unfinished images; makes the folders their files go to."""
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

    def _summary(self) -> dict:
        """Segments by origin, and of each class images, segments, pixels and mean score."""
        deleted = deleted_ids(self.configuration)
        classes = [
            {
                "label_id": c.id,
                "origin": ZERO_SHOT if k in deleted else GROUND_TRUTH,
                "images": 0,
                "segments": 0,
                "pixels": 0,
            }
            for k, c in enumerate(CATEGORIES)
        ]
        scores: list[list[float]] = [[] for _ in CATEGORIES]
        for segments in self.files.done.values():
            for k in {_CLASS_OF[s["category_id"]] for s in segments}:
                classes[k]["images"] += 1
            for segment in segments:
                k = _CLASS_OF[segment["category_id"]]
                classes[k]["segments"] += 1
                classes[k]["pixels"] += segment["area"]
                scores[k] += [segment["score"]] if segment["origin"] == ZERO_SHOT else []
        for entry, found in zip(classes, scores):
            entry["mean_score"] = round(float(np.mean(found)), 4) if found else None
        segments = {
            origin: sum(c["segments"] for c in classes if c["origin"] == origin) for origin in (GROUND_TRUTH, ZERO_SHOT)
        }
        return {"segments": segments, "classes": {c.name: entry for c, entry in zip(CATEGORIES, classes)}}


def _fingerprint(records: Sequence[Mapping]) -> str:
    """A hash of the records as they are after deletion: another source, or other kept labels, give another one."""
    content = [[r["image_id"], Path(r["pan_seg_file_name"]).name, r["segments_info"]] for r in records]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
