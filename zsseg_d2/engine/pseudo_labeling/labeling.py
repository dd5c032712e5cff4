"""Pseudo-labelling as a program, behind ``tools/make_pseudo_labels.py``: a zero-shot model labels training images."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import log_every_n_seconds
from tabulate import tabulate
from torch import nn
from tqdm import tqdm

from ...class_sets import ClassSets
from ...data.errors import DatasetError
from ...data.panoptic.family import family_of
from ...data.panoptic.mapper import PanopticMapper
from ...data.panoptic.split_writer import MANIFEST, read_manifest
from ...data.pseudo_labels.dataset import KIND, REGIONS, pseudo_labels_folder, pseudo_labels_name
from ...data.pseudo_labels.regions import RegionSettings
from ...data.pseudo_labels.targets import ZERO_SHOT, Thresholds
from ...data.pseudo_labels.writer import TOOL, PseudoLabelSet
from ...files import file_digest
from ...folder_lock import writing
from ...meta_arch.given_masks import name_regions, predicting_model
from ...reading import explain, printable
from ..checkpoints.sources import local_weights
from ..checkpoints.training_provenance import of_labels
from ..config.packaged import config_names
from ..errors import ConfigError, one_line_errors
from ..launch import launch
from ..log_files import log_to
from ..training.hooks import logs_above_bars, show_bars
from ..training.trainer import Trainer
from .labeling_config import check_no_leak, labelling_config, settings_that_matter, weights_files

logger = logging.getLogger(__name__)


@dataclass
class Labelling:
    """The task of every process: config, target, and records of the images that are not finished."""

    cfg: CfgNode
    target: PseudoLabelSet
    records: list[dict]


def run_labelling(args: argparse.Namespace) -> dict:
    """Run :func:`make_pseudo_labels`, and print a summary.

    Raises:
        SystemExit: 130 after Ctrl-C; a message for errors that the user can fix.
    """
    with one_line_errors(debug=getattr(args, "debug", False)):
        try:
            entry, output = make_pseudo_labels(args)
        except KeyboardInterrupt:
            print("Interrupted; the same command resumes.", file=sys.stderr)
            raise
        summary = read_summary(entry, output)
    print(summary_table(summary))
    print(f"Pseudo-labels of {summary.images} images are in {output}.", end=" ")
    print(f"Train with: DATASETS.TRAIN \"('{summary.train_with}',)\"" if summary.train_with else "")
    return entry


def make_pseudo_labels(args: argparse.Namespace) -> tuple[dict, Path]:
    """Run a model on the images of a training set, and write its segments of deleted classes as a dataset.

    Args:
        args: ``config_file``, ``opts``, ``configuration``, ``split``, ``output`` (None: the folder of the registered
            dataset), ``overwrite`` and ``num_gpus`` (without CUDA: processes).

    Returns:
        The split's entry in the manifest, and the folder.

    Raises:
        ConfigError, CheckpointError, DatasetError: before any image is processed.
        KeyboardInterrupt: stopped by Ctrl-C; finished images are kept.
    """
    cfg = labelling_config(args)
    family = family_of(cfg.DATASETS.TEST)
    family.deleted_ids(args.configuration)  # raises for an unknown one
    limits = cfg.ZSSEG.PSEUDO_LABELS
    kind = REGIONS if limits.REGIONS else KIND
    default = pseudo_labels_folder(family, args.configuration, kind)
    output = Path(args.output).expanduser() if args.output else default
    target = PseudoLabelSet(
        family,
        args.split,
        args.configuration,
        output,
        Thresholds(limits.MIN_SCORE, limits.MIN_AREA, limits.MIN_VISIBLE),
        RegionSettings(limits.MIN_AREA, limits.MIN_SHARE, limits.MIN_DELETED) if limits.REGIONS else None,
    )
    weights, classes = weights_files(cfg), ClassSets.from_config(cfg).evaluation()
    check_no_leak(cfg, args.configuration, weights.values())
    predictions = {
        "weights_sha256": {key: file_digest(local_weights(path)) for key, path in weights.items()},
        "vocabulary": [list(synonyms) for synonyms in classes.vocabulary.classes],
        "settings": {k: v for k, v in settings_that_matter(cfg, classes).items() if k not in weights},
    }
    target.check(predictions, args.overwrite)
    with writing(output, TOOL):
        records = target.open(predictions, args.overwrite)
        if target.files.complete:
            print(f"{output}: {args.split} was complete already.")
            return _manifest_entry(output, args.split), output
        start = time.monotonic()
        if records:
            _label_in_processes(Labelling(cfg, target, records), args.num_gpus, getattr(args, "debug", False))
        seconds = time.monotonic() - start if len(records) == len(target.records) else None
        registered = args.split == "train" and output.resolve() == default.resolve()
        model = {
            "config_file": " ".join(config_names(args.config_file)),
            "weights": weights,
            "provenance": of_labels(weights).as_entry(),
            "train_with": pseudo_labels_name(family, args.configuration, kind=kind) if registered else None,
        }
        return target.finish(model, seconds), output


class ClassSummary(msgspec.Struct):
    """What a manifest says of one class."""

    origin: str
    segments: int
    images: int
    mean_score: float | None


class SegmentCounts(msgspec.Struct):
    """Segments by origin."""

    zero_shot: int
    ground_truth: int


class Summary(msgspec.Struct):
    """What is printed of a split's entry in the manifest."""

    images: int
    classes: dict[str, ClassSummary]
    segments: SegmentCounts
    train_with: str | None


def read_summary(entry: Mapping[str, Any], output: Path) -> Summary:
    """Check the structure of a split's entry in the manifest of `output`.

    Raises:
        DatasetError: it has another structure; the message names file and place.
    """
    try:
        return msgspec.convert(entry, Summary)
    except msgspec.ValidationError as error:
        place, problem = explain(error)
        raise DatasetError(
            f"{printable(output / MANIFEST)}: '{place or 'the entry'}' {problem}. "
            "Fix: give --overwrite to make it again."
        ) from None


def summary_table(summary: Summary) -> str:
    """Tabulate the pseudo-labelled classes: segments, images, mean score."""
    rows: list[tuple[object, ...]] = [
        (name, c.segments, c.images, "-" if c.mean_score is None else f"{c.mean_score:.3f}")
        for name, c in summary.classes.items()
        if c.origin == ZERO_SHOT
    ]
    rows.append(("all pseudo-labels", summary.segments.zero_shot, "", ""))
    rows.append(("kept ground truth", summary.segments.ground_truth, "", ""))
    return tabulate(rows, headers=("class", "segments", "images", "mean score"), colalign=("left", *["right"] * 3))


def label_share(args: argparse.Namespace) -> None:
    """Label the images of one process.

    Args:
        args: with ``task``, a :class:`Labelling`.
    """
    task: Labelling = args.task
    log_to(None)
    if comm.get_world_size() == 1:
        with logs_above_bars():
            _label(task)
    else:
        with one_line_errors(debug=args.debug), logs_above_bars():
            _label(task)


def _label(task: Labelling) -> None:
    cfg, rank = task.cfg, comm.get_rank()
    seed_all_rng(0)  # weights that no file holds are the same on every process
    model = Trainer.build_model(cfg)
    Trainer.build_checkpointer(cfg, model).resume_or_load(cfg.MODEL.WEIGHTS, resume=False)
    model.eval()
    namer = _region_namer(cfg, model, task.target)
    by_id = {record["image_id"]: record for record in task.records}
    # Vocabulary and things of the test set, as in the evaluation of the model.
    records = [{**record, "dataset_name": cfg.DATASETS.TEST[0]} for record in task.records]
    loader = build_detection_test_loader(
        records, mapper=PanopticMapper(cfg, training=False), num_workers=cfg.DATALOADER.NUM_WORKERS
    )
    bar = tqdm(loader, desc="pseudo-labels", unit="image", dynamic_ncols=True, disable=not show_bars())
    with torch.inference_mode():
        for number, batch in enumerate(bar, start=1):
            for item, result in zip(batch, model(batch)):
                ids, segments = result["panoptic_seg"]
                if not all("score" in segment for segment in segments):
                    raise ConfigError(
                        f"MODEL.META_ARCHITECTURE={cfg.MODEL.META_ARCHITECTURE}: pseudo-labels need a model that "
                        "scores its segments."
                    )
                more = {} if namer is None else {"name": partial(namer, item)}
                task.target.add(by_id[item["image_id"]], ids.cpu().numpy(), segments, part=rank, **more)
            if not show_bars():
                log_every_n_seconds(
                    logging.INFO, f"{number} of {len(loader)} images of this process", n=10, name=__name__
                )


def _region_namer(cfg: CfgNode, model: nn.Module, target: PseudoLabelSet) -> Callable | None:
    """Return the function that names the regions of an item; None if predicted segments are the targets.

    Raises:
        ConfigError: several models make the predictions.
    """
    if target.regions is None:
        return None
    namer = predicting_model(model)
    if namer is None:
        raise ConfigError(
            f"ZSSEG.PSEUDO_LABELS.REGIONS=True: MODEL.META_ARCHITECTURE={cfg.MODEL.META_ARCHITECTURE} names no masks. "
            "Fix: take an FC-CLIP, or set it to False."
        )
    deleted = sorted(target.family.deleted_ids(target.configuration))
    return partial(name_regions, namer, deleted=deleted, least=target.regions.min_deleted)


def _label_in_processes(task: Labelling, processes: int, debug: bool) -> None:
    where = {"num_gpus": processes, "num_machines": 1, "machine_rank": 0, "dist_url": "auto"}
    args = argparse.Namespace(**where, task=task, debug=debug)
    try:
        launch(label_share, args, task.cfg.MODEL.DEVICE, timeout=task.cfg.ZSSEG.PROCESS_TIMEOUT)
    except SystemExit as stop:
        if stop.code == 130:
            raise KeyboardInterrupt from None
        raise


def _manifest_entry(output: Path, split: str) -> dict:
    return read_manifest(output)["splits"][split]
