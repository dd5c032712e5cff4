"""The evaluator of composites: streaming, exact, distributed, and always beside the subtraction baseline."""

from __future__ import annotations

import csv
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from tabulate import tabulate

from ...files import atomic_path
from ..completeness import EvaluationError, check_complete, first_of_each, versions
from ..panoptic.report import write_json
from .scores import RELATIVE, DepthSums, MaskCounts, compare_depths, compare_masks, depth_scores, mask_scores
from .subtraction import Differences, best_threshold, count_differences

logger = logging.getLogger(__name__)


class _Found(NamedTuple):
    """What is kept of one image."""

    mask: MaskCounts
    depth: DepthSums | None
    differences: Differences


class CompositeEvaluator(DatasetEvaluator):
    """Compute mask and depth scores of composites, and those of subtracting the background.

    ``process`` takes items with ``image_id``, ``image``, ``background``, ``mask`` and possibly ``depth`` and
    ``depth_kind``, and outputs with ``mask_logits`` (H, W) and possibly ``depth`` (H, W). The scores are defined in
    :mod:`.scores`.
    """

    task, file_name = "composites", "composites.json"

    def __init__(
        self,
        dataset_name: str,
        image_ids: Sequence[int],
        output_dir: str | None = None,
        *,
        threshold: float = 0.5,
        depth_span: float = 1.0,
        validation: Callable[[], tuple[str, int]] | None = None,
    ) -> None:
        """
        Args:
            dataset_name: for messages and files.
            image_ids: of all images of the dataset.
            output_dir: ``inference/<dataset_name>/composites.json``, and ``images.csv`` with the scores of each image,
                are written below it; None writes no file.
            threshold: a pixel is predicted if its probability is greater.
            depth_span: the data range of SSIM: metres, or 1 of relative depth.
            validation: returns the name of a validation split and the best threshold of the subtraction baseline there;
                it is called on the main process at the end. None: this dataset is the validation split.
        """
        self._dataset, self._image_ids = dataset_name, list(image_ids)
        self._threshold, self._span = threshold, depth_span
        self._validation = validation
        self._folder = Path(output_dir) / "inference" / dataset_name if output_dir else None
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._found: dict[int, _Found] = {}

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Count the pixels of a batch.

        Raises:
            EvaluationError: a prediction does not fit its image.
        """
        for item, output in zip(inputs, outputs):
            try:
                self._found[item["image_id"]] = self._compare(item, output)
            except ValueError as error:
                raise EvaluationError(f"Image {item['image_id']!r} of '{self._dataset}': {error}.") from error

    def _compare(self, item: Mapping, output: Mapping) -> _Found:
        truth = _array(item["mask"]).astype(bool)
        probability = torch.as_tensor(output["mask_logits"]).detach().float().sigmoid()
        depth = None
        if output.get("depth") is not None and item.get("depth") is not None:
            depth = compare_depths(_array(output["depth"]), _array(item["depth"]), item["depth_kind"], self._span)
        return _Found(
            compare_masks(_array(probability > self._threshold), truth),
            depth,
            count_differences(_array(item["image"]), _array(item["background"]), truth),
        )

    def evaluate(self) -> OrderedDict | None:
        """Gather the counts of all processes, log the table and write the JSON.

        Returns:
            On the main process ``{"composites": scores}``, see :meth:`report`; None on the other processes.

        Raises:
            EvaluationError: images of the dataset have no prediction, or kinds of depth are mixed.
        """
        comm.synchronize()
        gathered = comm.gather(self._found)
        if not comm.is_main_process():
            return None
        found = first_of_each(gathered)
        check_complete(found, dict.fromkeys(self._image_ids), "image", self._dataset)
        report = self.report([found[image_id] for image_id in self._image_ids])
        logger.info("Composites of %s (%d images):\n%s", self._dataset, len(found), format_table(report))
        if self._folder is not None:
            details = {"dataset": self._dataset, "num_images": len(found), "threshold": self._threshold}
            self._write_images(self._folder / "images.csv", found)
            write_json(self._folder / self.file_name, {**report, **details, "versions": versions()})
        scores = {key: value for key, value in report.items() if isinstance(value, float)}
        return OrderedDict({self.task: {**scores, "subtraction_iou": report["subtraction_baseline"]["mask_iou"]}})

    def _write_images(self, path: Path, found: Mapping[int, _Found]) -> None:
        """Write the scores of each image, to find those that fail.

        IoU and F are in percent, the RMSE in the unit of the depth; of relative depth it is that after the best fit.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["image_id", "mask_iou", "boundary_f", "depth_rmse"])
            for image_id in self._image_ids:
                mask, depth = found[image_id].mask, found[image_id].depth
                rmse = ""
                if depth:
                    squared = depth.aligned if depth.kind == RELATIVE else depth.squared
                    rmse = f"{math.sqrt(squared / depth.pixels):.4f}"
                writer.writerow([image_id, f"{100 * mask.iou:.2f}", f"{100 * mask.boundary_f:.2f}", rmse])

    def report(self, found: Sequence[_Found]) -> dict[str, Any]:
        """Return all scores, and the subtraction baseline with its threshold and where that was chosen."""
        differences = [image.differences for image in found]
        chosen_on, threshold = (
            (self._dataset, best_threshold(differences)) if self._validation is None else self._validation()
        )
        depths = [image.depth for image in found if image.depth is not None]
        baseline = mask_scores([part.at(threshold) for part in differences])
        del baseline["boundary_f"]
        try:
            return {
                **mask_scores([image.mask for image in found]),
                **(depth_scores(depths) if depths else {}),
                **({"depth_kind": depths[0].kind} if depths else {}),
                "subtraction_baseline": {**baseline, "threshold": threshold, "threshold_chosen_on": chosen_on},
            }
        except ValueError as error:
            raise EvaluationError(f"'{self._dataset}': {error}.") from error


def format_table(report: Mapping[str, Any]) -> str:
    """Format the scores, those of the baseline beside them."""
    baseline = report["subtraction_baseline"]
    rows = [
        [key, f"{value:.4g}", f"{baseline[key]:.4g}" if key in baseline else "-"]
        for key, value in report.items()
        if isinstance(value, float)
    ]
    heading = f"subtraction at > {baseline['threshold']}"
    return tabulate(rows, ["score", "net", heading], colalign=("left", "right", "right"), disable_numparse=True)


def _array(value: Any) -> np.ndarray:
    return torch.as_tensor(value).detach().cpu().numpy()
