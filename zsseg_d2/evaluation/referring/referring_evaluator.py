"""The evaluator of referring segmentation: streaming, exact, distributed, at the size of the original image."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ...data.panoptic.png import DatasetError, write_png
from ...data.phrasecut.folder import load_word_counts
from ..completeness import EvaluationError, check_complete, find_record, first_of_each, versions
from ..panoptic.report import write_json
from .metrics import SWEEP_SPLITS, CountTable, MaskCounts, count_mask, threshold_index
from .referring_report import SCORES, baseline_report, format_table, referring_report, sweep_report
from .subsets import SubsetFinder

logger = logging.getLogger(__name__)

LoadMask = Callable[[Mapping], np.ndarray]
"""Maps the record of a task to its complete ground truth, (H, W) bool."""


def record_mask(record: Mapping) -> np.ndarray:
    """Load the ground truth of a task, (H, W) bool.

    It is ``record["load_mask"]()`` if there is such an entry, else PhraseCut's ``polygons`` drawn by the official rule.
    """
    if "load_mask" in record:
        return record["load_mask"]()
    return record["polygons"].mask(record["height"], record["width"])


class ReferringEvaluator(DatasetEvaluator):
    """Compute PhraseCut's and CLIPSeg's scores over the tasks of a dataset, in total and by subset.

    ``process`` takes items with ``task_id`` and outputs with ``mask_prob`` ((H, W) in [0, 1], or bool) or
    ``mask_logits`` ((H, W)), at the original size. The ground truth comes from the dataset's own record, never from a
    resized mask. The scores are defined in :mod:`.metrics`.

    If a batch holds several tasks of an image, the ground truth of each is also compared with the prediction for
    another phrase about the same image. This shuffled-phrase baseline is the score of a model that ignores its phrase.
    """

    task, file_name = "referring", "referring.json"

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        *,
        threshold: float = 0.5,
        save_predictions: bool = False,
        load_mask: LoadMask | None = None,
    ) -> None:
        """
        Args:
            dataset_name: a registered dataset whose records hold ``task_id``, or ``tasks`` that do.
            output_dir: ``inference/<dataset_name>/referring.json`` is written below it; None writes no file.
            threshold: a pixel is predicted if its probability is greater; one of 0.01, 0.02, …, 0.99.
            save_predictions: also write ``inference/<dataset_name>/predictions/<task_id>.png`` (white on black), which
                the official ``evaluate.py --pred_path`` reads.
            load_mask: loads the ground truth of a record. None: the metadata's ``load_mask``, else :func:`record_mask`.

        Raises:
            EvaluationError: the threshold is not one of those, or `save_predictions` is set without an `output_dir`.
        """
        self._dataset = dataset_name
        self._metadata = MetadataCatalog.get(dataset_name)
        try:
            self._index = threshold_index(threshold)
        except ValueError as error:
            raise EvaluationError(str(error)) from None
        self._threshold = threshold
        self._load_mask = load_mask or self._metadata.get("load_mask") or record_mask
        self._folder = Path(output_dir) / "inference" / dataset_name if output_dir else None
        if save_predictions and self._folder is None:
            raise EvaluationError("Predictions can only be saved with an output folder. Fix: set OUTPUT_DIR.")
        self._predictions = self._folder / "predictions" if save_predictions and self._folder is not None else None
        self._records: dict[str, Mapping] = {}
        self._find_subsets = SubsetFinder()
        self.reset()

    def reset(self) -> None:
        """Forget all tasks."""
        # Kept per task: a sampler may give one task to two processes, and sums in the order of the dataset are the same
        # for any number of processes.
        self._counts: dict[str, MaskCounts] = {}
        self._blind: dict[str, MaskCounts] = {}

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Count the pixels of a batch; a task that was counted before is skipped.

        Raises:
            EvaluationError: a task is not in the dataset, or a prediction does not fit it.
        """
        found = [
            (item["task_id"], output) for item, output in zip(inputs, outputs) if item["task_id"] not in self._counts
        ]
        for (task_id, output), (other_id, other) in zip(found, [*found[1:], *found[:1]]):
            if task_id in self._counts:
                continue
            record = self._record(task_id)
            try:
                probability, truth = _probability(output), self._load_mask(record)
                self._counts[task_id] = count_mask(probability, truth)
                if _another_phrase(record, self._record(other_id)):
                    self._blind[task_id] = count_mask(_probability(other), truth)
            except ValueError as error:
                if isinstance(error, DatasetError):
                    raise
                raise EvaluationError(f"Task {task_id!r} of '{self._dataset}': {error}.") from error
            if self._predictions is not None:
                self._predictions.mkdir(parents=True, exist_ok=True)
                white = probability.float() > torch.tensor(self._threshold, dtype=torch.float32)  # as counted
                write_png(self._predictions / f"{task_id}.png", white.cpu().numpy().astype(np.uint8) * 255)

    def evaluate(self) -> OrderedDict | None:
        """Gather the counts of all processes, log the table and write the JSON.

        Returns:
            On the main process ``{"referring": {mean_iou, cum_iou, acc@0.5, …, pixel_accuracy, dice, iou_fg, iou_bin,
            miou, ap}}`` in percent; None on the other processes.

        Raises:
            EvaluationError: no task was evaluated, or tasks of the dataset have no prediction.
        """
        comm.synchronize()
        gathered, gathered_blind = comm.gather(self._counts), comm.gather(self._blind)
        if not comm.is_main_process():
            return None
        counts, blind = first_of_each(gathered), first_of_each(gathered_blind)
        records = self._all_records()
        check_complete(counts, records, "task", self._dataset)
        table = CountTable.stack(counts[task_id] for task_id in records)
        subsets = [self._find_subsets(r, counts[i].truth / counts[i].pixels) for i, r in records.items()]
        report = referring_report(table, subsets, self._threshold)
        report["shuffled_phrase_baseline"] = baseline_report(
            CountTable.stack(blind[i] for i in records if i in blind), self._threshold
        )
        logger.info("Referring segmentation on %s (%d tasks):\n%s", self._dataset, len(table), format_table(report))
        if self._folder is not None:
            write_json(self._folder / self.file_name, {**report, **self._sweep(table), **self._provenance(records)})
        return OrderedDict({self.task: {key: report[key] for key in SCORES}})

    def _sweep(self, table: CountTable) -> dict:
        split = self._metadata.get("split")
        if not split or not set(split.split("_")) <= SWEEP_SPLITS:
            return {}
        return {"threshold_sweep": sweep_report(table, split)}

    def _provenance(self, records: Mapping[str, Mapping]) -> dict:
        return {
            "dataset": self._dataset,
            "num_tasks": len(records),
            "num_images": len({record["image_id"] for record in records.values()}),
            "versions": versions(),
        }

    def _all_records(self) -> dict[str, Mapping]:
        if not self._records:
            for record in DatasetCatalog.get(self._dataset):
                for part in record.get("tasks", ({},)):  # a record describes an image or a task
                    task = {**record, **part} if part else record
                    self._records[task["task_id"]] = task
            root = self._metadata.get("root")
            if root is not None:
                try:
                    self._find_subsets = SubsetFinder(load_word_counts(Path(root)))
                except DatasetError as error:
                    logger.warning("Subsets by word frequency are not available: %s", error)
        return self._records

    def _record(self, task_id: str) -> Mapping:
        return find_record(self._all_records(), task_id, "task", self._dataset)


def _another_phrase(one: Mapping, other: Mapping) -> bool:
    return one["image_id"] == other["image_id"] and one.get("phrase") != other.get("phrase")


def _probability(output: Mapping) -> torch.Tensor:
    """Return the (H, W) probabilities of an output, or raise ValueError."""
    if "mask_prob" in output:
        return torch.as_tensor(output["mask_prob"])
    if "mask_logits" in output:
        return torch.as_tensor(output["mask_logits"]).float().sigmoid()
    raise ValueError(f"the output has neither 'mask_prob' nor 'mask_logits' (it has {', '.join(output) or 'nothing'})")
