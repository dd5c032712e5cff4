"""The evaluator of found words and their maps: streaming, exact, distributed."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ...data.annotations import read_annotation
from ..completeness import EvaluationError, check_complete, find_record, first_of_each
from ..panoptic.mean_iou import count_pixels
from ..panoptic.report import write_json
from .mappings import read_mapping
from .report import auto_vocabulary_report, flat_scores, format_report
from .word_counts import WordCounts, count_words

logger = logging.getLogger(__name__)

FILE_NAME = "auto_vocabulary.json"


class AutoVocabularyEvaluator(DatasetEvaluator):
    """Score words that were found without a vocabulary, and their maps, against a dataset's classes.

    ``process`` takes outputs with

    * ``"words"``: n of an image, with a distinct ``name`` each, or the names themselves.
    * ``"semantic_labels"``: (H, W) the position of each pixel's word, at the original size; -1 for none.
    * ``"word_seconds"`` (optional): the time that finding the words took.
    * ``"given_labels"`` (optional): (H, W) classes in [0, K) that the same model finds with the dataset's names. Their
      mIoU is the upper bound.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        *,
        classes: Sequence[Sequence[str]] | None = None,
        mapping_file: str = "",
        embed: Callable[[Sequence[str]], np.ndarray] | None = None,
        threshold: float = 0.9,
        least_share: float = 0.01,
    ) -> None:
        """
        Args:
            dataset_name: a dataset registered by :mod:`zsseg_d2.data`.
            output_dir: ``inference/<dataset_name>/auto_vocabulary.json`` is written below it; None writes no file.
            classes: (K,) the names of each class; None: the dataset's own names.
            mapping_file: a mapping of words to classes that was made elsewhere; see
                :func:`zsseg_d2.evaluation.auto_vocabulary.read_mapping`.
            embed: n texts to (n, E) embeddings, for the mapping by cosine and the soft and nearest Jaccard index; None:
                without these.
            threshold: least cosine of a word and the name of its class.
            least_share: part of an image that a class needs for being looked for among the words.

        Raises:
            UnusableFile: the mapping has another structure.
            FileNotFoundError: there is no such mapping.
        """
        self._dataset = dataset_name
        self._metadata = MetadataCatalog.get(dataset_name)
        names = list(self._metadata.stuff_classes)
        self._classes = [tuple(of_class) for of_class in classes] if classes is not None else [(n,) for n in names]
        if len(self._classes) != len(names):
            raise EvaluationError(f"'{dataset_name}' has {len(names)} classes, but {len(self._classes)} have names.")
        self._mapping = read_mapping(mapping_file, self._classes) if mapping_file else None
        self._embed, self._threshold, self._least_share = embed, threshold, least_share
        self._folder = Path(output_dir) / "inference" / dataset_name if output_dir else None
        self._records: dict = {}
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._counts: dict[int | str, WordCounts] = {}
        self._seconds: list[float] = []  # for the log only: they differ from run to run

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Count a batch; an image that was counted before is skipped.

        Raises:
            EvaluationError: an image is not in the dataset, or a result does not fit it.
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
                self._counts[image_id] = self._count(truth, segments, output)
                self._seconds += [output["word_seconds"]] if "word_seconds" in output else []
            except ValueError as error:
                raise EvaluationError(f"Image {image_id!r} of '{self._dataset}': {error}.") from error

    def _count(self, truth: np.ndarray, segments: Sequence[Mapping], output: Mapping) -> WordCounts:
        for key in ("words", "semantic_labels"):
            if key not in output:
                raise ValueError(f"the model has no '{key}'")
        words, number = [str(getattr(word, "name", word)) for word in output["words"]], len(self._classes)
        given = None
        if output.get("given_labels") is not None:
            given = count_pixels(truth, segments, output["given_labels"].cpu().numpy(), number)
        found = output["semantic_labels"].cpu().numpy()
        return count_words(truth, segments, found, words, number, given)

    def evaluate(self) -> OrderedDict | None:
        """Gather the counts of all processes, log the table and write the JSON.

        Returns:
            On the main process ``{"auto_vocabulary": {…}}``, see
            :func:`zsseg_d2.evaluation.auto_vocabulary.report.flat_scores`; None on the other processes.

        Raises:
            EvaluationError: no image was evaluated, or images of the dataset have no result.
        """
        comm.synchronize()
        gathered, seconds = comm.gather(self._counts), comm.gather(self._seconds)
        if not comm.is_main_process():
            return None
        counts, records = first_of_each(gathered), self._all_records()
        check_complete(counts, records, "image", self._dataset)
        report = auto_vocabulary_report(
            [counts[image_id] for image_id in records],
            self._classes,
            mapping=self._mapping,
            embed=self._embed,
            threshold=self._threshold,
            least_share=self._least_share,
        )
        logger.info("Auto-vocabulary on %s (%d images):\n%s", self._dataset, len(records), format_report(report))
        if times := [value for part in seconds for value in part]:
            logger.info("Words took %.2f s per image (median; mean %.2f s).", median(times), fmean(times))
        if self._folder is not None:
            write_json(self._folder / FILE_NAME, {"dataset": self._dataset, **report})
        return OrderedDict({"auto_vocabulary": flat_scores(report)})

    def _all_records(self) -> dict:
        if not self._records:
            load = self._metadata.get("load_complete_records") or (lambda: DatasetCatalog.get(self._dataset))
            self._records = {record["image_id"]: record for record in load()}
        return self._records
