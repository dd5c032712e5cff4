"""The panoptic evaluators: streaming, exact, distributed, without temporary files."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ...data.annotations import read_annotation
from ..completeness import EvaluationError, check_complete, find_record, first_of_each, versions
from .beside import BesideMeasures, add_to_report
from .bootstrap import ImageCounts
from .panoptic_counts import PanopticCounts, count_image
from .predictions import PredictionWriter
from .report import format_table, group_members, panoptic_report, write_json

logger = logging.getLogger(__name__)


class PanopticQualityEvaluator(DatasetEvaluator):
    """Compute panoptic quality against the complete annotation of a dataset.

    The complete annotation is used even if the dataset was registered with deleted classes.

    ``process`` takes outputs with ``"panoptic_seg": (seg, segments_info)``, where seg is an (H, W) integer tensor at
    the original size, 0 = void, and segments_info a list of ``{id, category_id (in [0, K)), isthing}``. If
    segments_info is None, seg holds category · label_divisor + instance, -1 = void, as in Detectron2.
    """

    title, task, file_name = "Panoptic quality", "panoptic_seg", "panoptic_quality.json"

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        *,
        out_classes: Sequence[int | str] | None = None,
        save_predictions: bool = False,
        beside: Sequence[str] = (),
    ) -> None:
        """
        Args:
            dataset_name: a dataset registered by :mod:`zsseg_d2.data`.
            output_dir: ``inference/<dataset_name>/panoptic_quality.json``, and beside it the counts of every image
                (:mod:`.bootstrap`), are written below it; None writes no file.
            out_classes: contiguous ids or names of the classes that count as Out. None: the classes deleted from this
                dataset, else its default (the things of Cityscapes, as in configuration 008), else none.
            save_predictions: also write predictions in COCO panoptic format to
                ``inference/<dataset_name>/predictions``.
            beside: further measures in the same table and JSON: ``"mIoU"`` of the outputs' ``sem_seg`` (K, H, W),
                ``"AP"`` of their ``instances``.

        Raises:
            EvaluationError: a class or measure is unknown, or `save_predictions` is set without an `output_dir`.
        """
        self._dataset = dataset_name
        self._metadata = MetadataCatalog.get(dataset_name)
        self._names = list(self._metadata.stuff_classes)
        self._things = frozenset(self._metadata.thing_dataset_id_to_contiguous_id.values())
        self._out = _out_classes(out_classes, self._metadata, self._names)
        try:
            self._beside = BesideMeasures(beside, len(self._names), self._things)
        except ValueError as error:
            raise EvaluationError(str(error)) from None
        self._folder = Path(output_dir) / "inference" / dataset_name if output_dir else None
        self._writer: PredictionWriter | None = None
        if save_predictions:
            if self._folder is None:
                raise EvaluationError("Predictions can only be saved with an output folder. Fix: set OUTPUT_DIR.")
            self._writer = PredictionWriter(self._folder / "predictions", self._metadata)
        self._records: dict = {}
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        # Counts are kept per image, a few numbers each: a sampler may give one image to two processes, and a sum in the
        # order of the dataset is the same for any number of processes.
        self._counts: dict[int | str, PanopticCounts] = {}
        self._beside_counts: dict[int | str, dict] = {}
        if self._writer is not None:
            self._writer.reset()

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Count the matches of a batch; an image that was counted before is skipped.

        Raises:
            EvaluationError: an image is not in the dataset, or a prediction does not fit it.
            DatasetError: the annotation of an image is missing or damaged.
        """
        for item, output in zip(inputs, outputs):
            image_id = item["image_id"]
            if image_id in self._counts:
                continue
            record = find_record(self._all_records(), image_id, "image", self._dataset)
            sized = record if "height" in record else item
            size = (sized["height"], sized["width"]) if "height" in sized else None
            truth, segments = read_annotation(record, size)
            try:
                beside = self._beside.count(truth, segments, output)
                self._counts[image_id] = self._count(truth, segments, output)
                self._beside_counts[image_id] = beside
            except ValueError as error:
                raise EvaluationError(f"Image {image_id!r} of '{self._dataset}': {error}.") from error
            if self._writer is not None:
                self._writer.write(image_id, *self._prediction(output["panoptic_seg"]))

    def _count(self, truth: np.ndarray, segments: Sequence[Mapping], output: Mapping) -> PanopticCounts:
        return count_image(truth, segments, *self._prediction(output["panoptic_seg"]), len(self._names))

    def evaluate(self) -> OrderedDict | None:
        """Gather the counts of all processes, log the table and write the JSON.

        Returns:
            On the main process ``{"panoptic_seg": {PQ, SQ, RQ, PQ_in, PQ_out, PQ_hm, PQ_th, PQ_st}}`` in percent, with
            mIoU and AP if they are asked for, NaN if there is no class to average; None on the other processes.

        Raises:
            EvaluationError: no image was evaluated, or images of the dataset have no prediction.
        """
        comm.synchronize()
        gathered = comm.gather(self._counts)
        gathered_beside = comm.gather(self._beside_counts) if self._beside.wanted else [{}]
        annotations = comm.gather(self._writer.annotations) if self._writer is not None else []
        if not comm.is_main_process():
            return None
        counts, records = first_of_each(gathered), self._all_records()
        check_complete(counts, records, "image", self._dataset)
        total = PanopticCounts.zeros(len(self._names))
        for image_id in records:
            total += counts[image_id]
        report = panoptic_report(total, self._names, self._things, self._out)
        if self._beside.wanted:
            counted = first_of_each(gathered_beside)
            members = group_members(len(self._names), self._things, self._out)
            add_to_report(report, self._beside.scores([counted[image_id] for image_id in records]), members)
        logger.info("%s on %s (%d images):\n%s", self.title, self._dataset, len(counts), format_table(report))
        if self._writer is not None:
            self._writer.finish({k: v for part in annotations for k, v in part.items()}, records)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            of_images = ImageCounts.of({image_id: counts[image_id] for image_id in records})
            of_images.write(self._folder / f"{Path(self.file_name).stem}_images.safetensors")
            write_json(self._folder / self.file_name, {**report, **self._provenance(len(counts))})
        scores = {key: report["All"][key] for key in ("PQ", "SQ", "RQ")}
        for key, group in (("in", "In"), ("out", "Out"), ("th", "Things"), ("st", "Stuff")):
            scores[f"PQ_{key}"] = report[group]["PQ"]
        scores["PQ_hm"] = report["harmonic_mean"]
        scores |= {name: report["All"][name] for name in self._beside.wanted}
        return OrderedDict({self.task: scores})

    def _provenance(self, num_images: int) -> dict:
        return {"dataset": self._dataset, "num_images": num_images, "versions": versions()}

    def _all_records(self) -> dict:
        if not self._records:
            load = self._metadata.get("load_complete_records") or (lambda: DatasetCatalog.get(self._dataset))
            self._records = {record["image_id"]: record for record in load()}
        return self._records

    def _prediction(self, panoptic_seg: tuple) -> tuple[np.ndarray, list[dict]]:
        seg, segments = panoptic_seg
        ids = seg.cpu().numpy() if isinstance(seg, torch.Tensor) else np.asarray(seg)
        if segments is not None:
            return ids, segments
        divisor = self._metadata.label_divisor
        return ids + 1, [{"id": int(i) + 1, "category_id": int(i) // divisor} for i in np.unique(ids) if i >= 0]


class ClasswiseArithmeticEvaluator(PanopticQualityEvaluator):
    """Compute the published "naive intersection": PQ of In classes on model two's map, of Out classes on model one's.

    No single panoptic map has this quality: each class is scored on a map without the other model's segments.
    ``process`` takes outputs with ``"panoptic_seg_of": {"model_one": …, "model_two": …}``.
    """

    title, task, file_name = "Class-wise arithmetic (no panoptic map)", "naive_arithmetic", "naive_arithmetic.json"

    def _count(self, truth: np.ndarray, segments: Sequence[Mapping], output: Mapping) -> PanopticCounts:
        one, two = (
            count_image(truth, segments, *self._prediction(output["panoptic_seg_of"][name]), len(self._names))
            for name in ("model_one", "model_two")
        )
        out = np.isin(np.arange(len(self._names)), list(self._out))
        return PanopticCounts(
            *(np.where(out, getattr(one, f.name), getattr(two, f.name)) for f in fields(PanopticCounts))
        )


def _out_classes(wanted: Iterable[int | str] | None, metadata: Metadata, names: Sequence[str]) -> frozenset[int]:
    """Resolve names and ids of Out classes to contiguous ids."""
    if wanted is None:
        return frozenset(metadata.get("deleted_contiguous_ids") or metadata.get("out_contiguous_ids") or ())
    found = set()
    for item in wanted:
        number = names.index(item) if item in names else item
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 0 <= number < len(names):
            raise EvaluationError(
                f"There is no class {item!r} in '{metadata.name}'. Fix: give names, or contiguous ids in "
                f"[0, {len(names)})."
            )
        found.add(int(number))
    return frozenset(found)
