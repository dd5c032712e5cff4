"""The evaluator of semantic segmentation: streaming, exact, distributed, against label maps or panoptic annotations."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ...data.annotations import read_annotation
from ...data.panoptic.png import write_png
from ..completeness import EvaluationError, check_complete, find_record, first_of_each, versions
from ..panoptic.mean_iou import PixelCounts, count_pixels
from ..panoptic.report import write_json
from .report import format_semantic_table, semantic_report

logger = logging.getLogger(__name__)


class SemanticEvaluator(DatasetEvaluator):
    """Compute IoU and accuracy of the class of each pixel against the complete annotation of a dataset.

    ``process`` takes outputs with ``sem_seg`` (K, H, W), whose largest score is a pixel's class. Pixels without a class
    in the annotation are left out. Of a panoptic annotation, a pixel's class is that of its segment.

    Args:
        dataset_name: a semantic or panoptic dataset registered by :mod:`zsseg_d2.data`.
        output_dir: ``inference/<dataset_name>/semantic_segmentation.json`` is written below it; None writes no file.
        out: contiguous ids of the classes that count as Out.
        save_predictions: also write ``inference/<dataset_name>/predictions/<image_id>.png``, with the dataset's own
            value of the class of each pixel.

    Raises:
        EvaluationError: `save_predictions` is set without an `output_dir`.
    """

    task, file_name = "sem_seg", "semantic_segmentation.json"

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        *,
        out: Collection[int] = (),
        save_predictions: bool = False,
    ) -> None:
        if save_predictions and not output_dir:
            raise EvaluationError("Predictions can only be saved with an output folder. Fix: set OUTPUT_DIR.")
        self._dataset = dataset_name
        self._metadata = MetadataCatalog.get(dataset_name)
        self._names = list(self._metadata.stuff_classes)
        self._out = frozenset(out)
        self._folder = Path(output_dir) / "inference" / dataset_name if output_dir else None
        self._save = save_predictions
        self._records: dict = {}
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._counts: dict[int | str, PixelCounts] = {}  # a sampler may give one image to two processes

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Count the pixels of a batch; an image that was counted before is skipped.

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
            if "sem_seg" not in output:
                raise EvaluationError(f"Image {image_id!r} of '{self._dataset}': the model has no 'sem_seg'.")
            classes = output["sem_seg"].argmax(0).cpu().numpy()
            try:
                self._counts[image_id] = count_pixels(truth, segments, classes, len(self._names))
            except ValueError as error:
                raise EvaluationError(f"Image {image_id!r} of '{self._dataset}': {error}.") from error
            if self._save and self._folder is not None:
                self._write(self._folder / "predictions", image_id, classes)

    def evaluate(self) -> OrderedDict | None:
        """Gather the counts of all processes, log the table and write the JSON.

        Returns:
            On the main process ``{"sem_seg": {mIoU, fwIoU, mACC, pACC, mIoU_in, mIoU_out}}`` in percent, NaN if there
            is no class to average; None on the other processes.

        Raises:
            EvaluationError: no image was evaluated, or images of the dataset have no prediction.
        """
        comm.synchronize()
        gathered = comm.gather(self._counts)
        if not comm.is_main_process():
            return None
        counts, records = first_of_each(gathered), self._all_records()
        check_complete(counts, records, "image", self._dataset)
        report = semantic_report(reduce(add, (counts[i] for i in records)), self._names, self._out)
        logger.info(
            "Semantic segmentation on %s (%d images):\n%s", self._dataset, len(counts), format_semantic_table(report)
        )
        if self._folder is not None:
            facts = {"dataset": self._dataset, "num_images": len(counts), "versions": versions()}
            write_json(self._folder / self.file_name, {**report, **facts})
        scores = {key: report["All"][key] for key in ("mIoU", "fwIoU", "mACC", "pACC")}
        scores |= {"mIoU_in": report["In"]["mIoU"], "mIoU_out": report["Out"]["mIoU"]}
        return OrderedDict({self.task: scores})

    def _write(self, folder: Path, image_id: int | str, classes: np.ndarray) -> None:
        ids = self._metadata.stuff_dataset_id_to_contiguous_id
        values = np.array(sorted(ids, key=ids.__getitem__))[classes]
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{image_id:012d}" if isinstance(image_id, int) else image_id
        write_png(folder / f"{name}.png", values.astype(np.uint8 if max(ids) < 256 else np.uint16))

    def _all_records(self) -> dict:
        if not self._records:
            load = self._metadata.get("load_complete_records") or (lambda: DatasetCatalog.get(self._dataset))
            self._records = {record["image_id"]: record for record in load()}
        return self._records
