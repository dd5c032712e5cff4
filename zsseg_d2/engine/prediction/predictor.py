"""Panoptic segmentation of any image with any words, from Python."""

from __future__ import annotations

import argparse
import copy
import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from PIL import Image
from scipy import ndimage

from ...auto_vocabulary.finder import ImageWords, WordFinder
from ...auto_vocabulary.settings import build_word_finder
from ...class_sets import ClassSets, EvalClasses
from ...data.errors import DatasetError
from ...data.images.reading import read_rgb, upright_rgb
from ...data.panoptic.categories import PanopticCategory, distinct_colors
from ...data.panoptic.mapper import PanopticMapper
from ...meta_arch.auto_vocabulary import nothing
from ...vocabulary import Vocabulary
from ..checkpoints.sources import local_weights, weights_to_read
from ..config.setup import setup_cfg
from ..errors import USER_ERRORS, ConfigError
from ..referring_task import is_referring
from ..training.trainer import Trainer
from .auto_words import AutoRequest, AutoWords, parse_auto
from .embedded import DRAWN_STREETS, is_embedded
from .result import Instance, Prediction, Segment, encoded
from .words import WordsLike, parse_words

logger = logging.getLogger(__name__)

DEFAULT_CONFIG = "minicity/zero_shot.yaml"

ImageLike = str | os.PathLike | Image.Image | np.ndarray
"""A file, a PIL image of any mode, or (H, W, 3) uint8 RGB."""

_TEST = "MODEL.MASK_FORMER.TEST."


class Predictor:
    """Finds segments of any words in images.

    With the vocabulary of the test set, or without words, it gives the map that an evaluation scores.

    Args:
        config: a config file or several, by path or packaged name, or a config. Default: the embedded model, which
            knows the drawn street scenes of MiniCity.
        words: what to look for; see :func:`zsseg_d2.engine.prediction.words.parse_words`. None: the vocabulary of the
            config's test set. ``"auto"``: words are found in each image (see
            :func:`zsseg_d2.engine.prediction.auto_words.parse_auto`).
        options: KEY VALUE pairs on top of the config, such as ``["MODEL.WEIGHTS", "fcclip_cocopan.pth"]``.
        device: ``"cpu"``, ``"cuda"``, …; None: MODEL.DEVICE.
        semantic: results also hold the likeliest word of each pixel.
        instances: results also hold overlapping instances.

    Raises:
        ConfigError: the config is of another kind of model or names no weights, or `words` cannot be read.
        CheckpointError: the weights are missing, or do not fit.

    Example::

        predictor = zsseg_d2.Predictor(words="road, sky, car|cars|automobile")
        found = predictor("street.jpg")
        for segment in found.segments:
            print(segment.label, segment.score, segment.area)
        predictor.words = ["road", "tree", "lamp post"]
        predictor.words = "auto"
    """

    def __init__(
        self,
        config: str | os.PathLike | Sequence[str | os.PathLike] | CfgNode = DEFAULT_CONFIG,
        words: WordsLike | None = None,
        *,
        options: Sequence[Any] = (),
        device: str | None = None,
        semantic: bool = False,
        instances: bool = False,
    ) -> None:
        wanted = [f"{_TEST}PANOPTIC_ON", "True", f"{_TEST}SEMANTIC_ON", "False", f"{_TEST}INSTANCE_ON"]
        wanted += [str(instances), *(["MODEL.DEVICE", device] if device else [])]
        self._semantic = semantic
        self.cfg = _config(config, [*options, *wanted])
        self._classes_of_run = ClassSets.from_config(self.cfg)
        self._mapper = PanopticMapper(self.cfg, training=False)
        self._finder: WordFinder | None = None
        self.words = words  # mistakes end here, before weights are read
        if not isinstance(config, CfgNode) and is_embedded(config, DEFAULT_CONFIG, options):
            logger.warning(DRAWN_STREETS)
        self.model = _model(self.cfg)
        self._lock = threading.Lock()  # a model computes one image at a time

    @property
    def words(self) -> tuple[str, ...]:
        """Names of the K classes; with ``"auto"``, of all images so far.

        Others may be assigned; that costs only the text rows of new names.
        """
        return tuple(category.name for category in self.categories)

    @words.setter
    def words(self, words: WordsLike | None) -> None:
        self._set_words(words)

    def with_words(self, words: WordsLike | None, *, files: bool = True) -> Predictor:
        """Return a predictor of other words that shares the model; both can be used, also in several threads.

        Args:
            words: as in the constructor.
            files: whether text may name a file; False for the words of strangers.

        Raises:
            ConfigError: `words` cannot be read.
        """
        other = copy.copy(self)
        other._set_words(words, files)
        self._finder = other._finder  # read once for all
        return other

    def _set_words(self, words: WordsLike | None, files: bool = True) -> None:
        tested = self._classes_of_run.evaluation()
        request = parse_auto(words, tested)
        if request is None and words is None and self.cfg.MODEL.META_ARCHITECTURE == "AutoVocabularyFCCLIP":
            request = AutoRequest()
        self.auto = None if request is None else self._auto_words(request)
        try:
            classes = tested if words is None or request else self._classes_of(words, tested, files)
        except ValueError as error:
            raise error if isinstance(error, ConfigError) else ConfigError(f"words: {error}") from error
        self.classes = classes
        self.categories = () if self.auto else _categories(classes, self._dataset if classes is tested else "")

    def _auto_words(self, request: AutoRequest) -> AutoWords:
        """Build what finds the words of an image; its captioner is read once."""
        if self._finder is None:
            try:
                self._finder = build_word_finder(self.cfg)
            except ValueError as error:
                raise error if isinstance(error, USER_ERRORS) else ConfigError(str(error)) from error
        return AutoWords(self._finder, self._classes_of_run, request)

    def remember(self, words: Iterable[tuple[int, str, bool]], source: str) -> None:
        """Take over ids, names and kinds of words that an earlier run found.

        Args:
            words: of the earlier run.
            source: where they are noted, for messages.

        Raises:
            ConfigError: they contradict one another.
        """
        if self.auto:
            try:
                self.auto.categories.remember(words)
            except ValueError as error:
                raise ConfigError(f"{source}: {error}. Fix: give --overwrite, or another --output.") from error
            self.categories = self.auto.categories.all

    @property
    def vocabulary(self) -> Vocabulary:
        """The K classes with their synonyms.

        Raises:
            ConfigError: each image has its own ("auto"); they are :attr:`Prediction.found`.
        """
        if self.auto:
            raise ConfigError("words=auto: each image has its own words. Fix: read Prediction.found.words.")
        return self.classes.vocabulary

    @property
    def _dataset(self) -> str:
        return self.cfg.DATASETS.TEST[0] if self.cfg.DATASETS.TEST else ""

    def _classes_of(self, words: WordsLike, tested: EvalClasses, files: bool) -> EvalClasses:
        parsed = parse_words(words, tested, files=files)
        return self._classes_of_run.for_words(parsed.vocabulary, parsed.things)

    def __call__(self, image: ImageLike) -> Prediction:
        """Find the words in an image.

        Raises:
            DatasetError: the image cannot be read, or its pixels cannot be converted to RGB.
        """
        return self.predict(self.prepare(image))

    def prepare(self, image: ImageLike, name: str | None = None) -> dict[str, Any]:
        """Read and resize an image as an evaluation does; may run in another thread than :meth:`predict`.

        Args:
            image: see :data:`ImageLike`.
            name: of the result. Default: that of the file.

        Returns:
            An item of the model's input, with the image's "pixels" (H, W, 3) and "name".

        Raises:
            DatasetError: see :meth:`__call__`.
        """
        pixels, own_name = _pixels(image, self.cfg.INPUT.MAX_PIXELS)
        name = own_name if name is None else name
        size = {"height": pixels.shape[0], "width": pixels.shape[1]}
        return {**size, "image": self._mapper.prepared(pixels), "pixels": pixels, "name": name, "file_name": name}

    def predict(self, item: Mapping[str, Any]) -> Prediction:
        """Find the words in a prepared image."""
        return self.predict_batch([item])[0]

    def predict_batch(self, items: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        """Find the words in prepared images; those of one size share a pass through the model.

        Scores differ from those of :meth:`predict` by rounding (about 1e-6).
        """
        asked = [self._asked(item) for item in items]
        outputs = self._outputs(items, [classes for _, classes, _ in asked])
        return [
            self._prediction(item, output, categories, found)
            for item, output, (found, _, categories) in zip(items, outputs, asked)
        ]

    def _asked(
        self, item: Mapping[str, Any]
    ) -> tuple[ImageWords | None, EvalClasses | None, tuple[PanopticCategory, ...]]:
        """Return the words of an image, if they are found in it, the classes to look for, and their categories."""
        if not self.auto:
            return None, self.classes, self.categories
        with self._lock, torch.no_grad():
            asked = self.auto.find(item["image"])
            self.categories = self.auto.categories.all
        return asked

    def _outputs(
        self, items: Sequence[Mapping[str, Any]], classes: Sequence[EvalClasses | None]
    ) -> list[Mapping[str, Any]]:
        """Return the model's result for each item; without classes, nothing is found."""
        shared = {"semantic_labels": self._semantic, "encode_masks": _encoded, "dataset_name": self._dataset}
        given = [
            {**{k: v for k, v in item.items() if k != "pixels"}, **shared, "classes": known}
            for item, known in zip(items, classes)
            if known is not None
        ]
        with self._lock, torch.no_grad():
            computed = iter(self.model(given) if given else ())
        return [nothing(item) if known is None else next(computed) for item, known in zip(items, classes)]

    def _prediction(
        self,
        item: Mapping[str, Any],
        output: Mapping[str, Any],
        categories: tuple[PanopticCategory, ...],
        found: ImageWords | None,
    ) -> Prediction:
        ids, segments = output["panoptic_seg"]
        panoptic = ids.cpu().numpy()
        if not all("score" in segment for segment in segments):
            raise ConfigError(
                f"MODEL.META_ARCHITECTURE={self.cfg.MODEL.META_ARCHITECTURE}: its segments have no scores. Fix: use a "
                "model that scores its segments."
            )
        semantic = output.get("semantic_labels") if self._semantic else None
        instances = output.get("instances")
        return Prediction(
            name=item["name"],
            image=item["pixels"],
            panoptic=panoptic,
            segments=_segments(panoptic, segments, categories),
            categories=categories,
            semantic=None if semantic is None else semantic.cpu().numpy(),
            instances=None if instances is None else _instances(instances, categories),
            found=found,
        )


def _config(config: Any, options: Sequence[Any]) -> CfgNode:
    if isinstance(config, CfgNode):
        cfg = config.clone()
        cfg.defrost()
        cfg.merge_from_list(list(options))
        cfg.freeze()
    else:
        cfg = setup_cfg(argparse.Namespace(config_file=config, opts=list(map(str, options)), eval_only=True))
    if is_referring(cfg):
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE={cfg.MODEL.META_ARCHITECTURE}: it segments phrases. Fix: use tools/segment.py, "
            "or a config of a panoptic model."
        )
    return cfg


def _model(cfg: CfgNode) -> torch.nn.Module:
    files = weights_to_read(cfg, eval_only=True)
    if not any(files.values()):
        raise ConfigError(
            "MODEL.WEIGHTS is empty, and a random decoder finds nothing. Fix: MODEL.WEIGHTS /path/to/model_final.pth"
        )
    for key, path in files.items():
        local_weights(path, key)  # what is missing is told before CLIP is fetched
    model = Trainer.build_model(cfg)
    checkpointer = Trainer.build_checkpointer(cfg, model, read_frozen_parts=False)
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=False)
    return model.eval()


def _categories(classes: EvalClasses, dataset: str) -> tuple[PanopticCategory, ...]:
    """Return the classes with the ids and colors of a dataset, or with ids from 1 if there is none."""
    names = classes.vocabulary.names
    ids, colors = list(range(1, len(names) + 1)), distinct_colors(len(names))
    metadata = MetadataCatalog.get(dataset) if dataset else None
    if metadata is not None and len(metadata.get("stuff_dataset_id_to_contiguous_id", ())) == len(names):
        ids = sorted(metadata.stuff_dataset_id_to_contiguous_id, key=metadata.stuff_dataset_id_to_contiguous_id.get)
        colors = [tuple(color) for color in metadata.get("stuff_colors", colors)]
        names = tuple(metadata.get("category_names", names))
    rows = zip(ids, names, colors, strict=True)
    return tuple(PanopticCategory(i, name, k in classes.things, color) for k, (i, name, color) in enumerate(rows))


def _pixels(image: ImageLike, max_pixels: int) -> tuple[np.ndarray, str]:
    """Return (H, W, 3) uint8 RGB, and a name."""
    if isinstance(image, str | os.PathLike):
        return read_rgb(image, max_pixels), Path(image).stem
    if isinstance(image, Image.Image):
        name = str(getattr(image, "filename", "") or "image")
        if 0 in image.size or image.width * image.height > max_pixels:
            raise DatasetError(
                f"{name}: has {image.width}x{image.height} pixels. Fix: give 1 to {max_pixels:,} (INPUT.MAX_PIXELS)."
            )
        return upright_rgb(image, name), Path(name).stem
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        kind = f"an array {image.shape} of {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DatasetError(
            f"The image is {kind}. Fix: give a path, a PIL image, or an array (H, W, 3) of uint8 in the order RGB."
        )
    if not 0 < image.shape[0] * image.shape[1] <= max_pixels:
        raise DatasetError(
            f"The image has {image.shape[1]}x{image.shape[0]} pixels. Fix: give 1 to {max_pixels:,} (INPUT.MAX_PIXELS)."
        )
    return np.array(image), "image"


def _segments(
    panoptic: np.ndarray, found: Sequence[Mapping], categories: Sequence[PanopticCategory]
) -> tuple[Segment, ...]:
    """Measure the segments of an (H, W) map; the largest comes first."""
    boxes, areas = ndimage.find_objects(panoptic), np.bincount(panoptic.ravel())
    segments = []
    for segment in found:
        number, category = segment["id"], segment["category_id"]
        if number >= len(areas) or not areas[number]:
            continue
        y, x = boxes[number - 1]
        box = (x.start, y.start, x.stop - x.start, y.stop - y.start)
        name, thing = categories[category].name, bool(segment["isthing"])
        segments.append(
            Segment(number, name, category, float(segment["score"]), thing, int(areas[number]), box, panoptic)
        )
    return tuple(sorted(segments, key=lambda s: -s.area))


def _encoded(masks: torch.Tensor) -> list[dict | None]:
    """Encode (N, H, W) bool masks; an empty one is None."""
    return [encoded(mask) if mask.any() else None for mask in masks.cpu().numpy()]


def _instances(found: Any, categories: Sequence[PanopticCategory]) -> tuple[Instance, ...]:
    """Convert Detectron2's instances, those with a pixel; the best comes first."""
    instances = []
    for k in found.scores.argsort(descending=True, stable=True).tolist():
        rle = found.encoded_masks[k]
        if rle is not None:
            left, top, right, bottom = map(int, found.pred_boxes.tensor[k].tolist())
            category = int(found.pred_classes[k])
            score, box = float(found.scores[k]), (left, top, right - left, bottom - top)
            instances.append(Instance(categories[category].name, category, score, box, rle))
    return tuple(instances)
