"""Prediction as a program, behind ``tools/predict.py``: images, videos and words in, named segments out."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from detectron2.config import get_cfg
from tqdm import tqdm

from ...data.errors import DatasetError
from ...files import file_digest
from ...folder_lock import writing
from ...process import keep_freed_memory
from ...reading import printable
from ..checkpoints.sources import local_weights
from ..errors import ConfigError
from ..pseudo_labeling.labeling_config import settings_that_matter, weights_files
from ..training.hooks import show_bars
from .auto_words import auto_settings
from .batches import predictions
from .entries import numbered, with_file_names
from .folder import PredictionFolder, has_instances, print_json
from .inputs import Source, find_images, is_video, name_images, prepared
from .listing import NO_WORD, listed
from .predictor import Predictor
from .result import coco_panoptic, renumbered
from .videos import FrameReader, all_frames, draw_video, is_finished


def run_predicting(args: argparse.Namespace) -> int:
    """Predict as the command line says, and return the exit status: 1 if an image could not be read.

    Args:
        args: as parsed by :mod:`zsseg_d2.cli.predict`.

    Raises:
        ConfigError, CheckpointError, DatasetError: before any image is computed.
        KeyboardInterrupt: finished images are kept.
    """
    logging.getLogger("detectron2").setLevel(logging.WARNING)
    keep_freed_memory()
    output = Path(args.output).expanduser() if args.output else None
    args.json = _json_target(args.json, output)
    paths = find_images(args.images, output)
    if output and not args.overwrite:
        args.instances |= has_instances(output)
    predictor = Predictor(
        args.config_file,
        args.words,
        options=args.opts,
        device=args.device,
        semantic=args.semantic,
        instances=args.instances,
    )
    if args.clusters and not predictor.auto:
        raise ConfigError(
            "--clusters: the words are given, so there are no clusters. Fix: --words auto, or leave it out."
        )
    try:
        with writing(output, "a prediction") if output else nullcontext():
            failed = _predict(args, predictor, paths, output)
    except KeyboardInterrupt:
        if output:
            print("Interrupted; the same command resumes.", file=sys.stderr)
        raise
    for problem in failed.values():
        print(f"error: {problem}", file=sys.stderr)
    if failed:
        print(f"error: {len(failed)} of {len(paths)} files gave no result; the others did.", file=sys.stderr)
    return 1 if failed else 0


def _json_target(target: str | None, output: Path | None) -> str | None:
    """Return ``--json`` with the home folder written out.

    Raises:
        ConfigError: no file can be written there.
    """
    if target in (None, "", "-"):
        return target
    path = Path(target).expanduser()
    if not path.parent.is_dir():
        raise ConfigError(f"--json {printable(target)}: its folder does not exist. Fix: make it, or name another.")
    if path.is_dir() or (output and path.absolute() == output.absolute()):
        raise ConfigError(f"--json {printable(target)}: is a folder. Fix: name a file inside it.")
    return str(path)


def _predict(
    args: argparse.Namespace, predictor: Predictor, paths: Sequence[Path], output: Path | None
) -> dict[Path, str]:
    """Predict all images that are not finished, write what was asked for, and return the problem of each failed one."""
    folder = None
    if output:
        folder = PredictionFolder(output, _settings(predictor), overwrite=args.overwrite)
        if args.instances:
            folder.check_instances(paths)
        if predictor.auto:
            predictor.remember(folder.words(), str(output))
    names = folder.names(paths) if folder else name_images(paths, {})
    failed: dict[Path, str] = {}
    work = _work(args, paths, names, predictor.cfg.INPUT.MAX_PIXELS, folder, failed)
    found = _compute(args, predictor, work, names, folder, failed)
    if folder:
        folder.finish(predictor.categories, instances=args.instances, table=args.csv)
        print(f"{output}: {len(folder.entries)} images in panoptic.json", file=sys.stderr)
    if args.json:
        good = [source for path, sources in work.items() if path not in failed for source in sources.all]
        if folder:
            content = folder.to_coco(predictor.categories, good, rle=True)
        else:
            images = with_file_names([found[source][0] for source in good], good)
            annotations, categories = [found[source][1] for source in good], predictor.categories
            if predictor.auto:  # ids that depend on no order of images; those of a folder are also in its PNGs
                annotations, categories = renumbered(annotations, categories)
            content = coco_panoptic(images, annotations, categories)
        print_json(content, args.json)
    return failed


class _Work(NamedTuple):
    """What there is to do for a file: all of its images, and those that are not finished."""

    all: list[Source]
    todo: list[Source]


def _work(
    args: argparse.Namespace,
    paths: Sequence[Path],
    names: Mapping[Path, str],
    max_pixels: int,
    folder: PredictionFolder | None,
    failed: dict[Path, str],
) -> dict[Path, _Work]:
    """List the images of each file; a video that cannot be read is added to `failed`."""
    asked = {"semantic": args.semantic, "instances": args.instances, "clusters": args.clusters}
    work: dict[Path, _Work] = {}
    finished = 0
    for path in paths:
        if not is_video(path):
            sources = [Source(path)]
        elif folder and is_finished(folder, path, names[path], **asked):
            work[path] = _Work(folder.frames(path), [])
            finished += 1
            continue
        else:
            try:
                sources = all_frames(path, max_pixels, args.max_frames)
            except DatasetError as error:
                failed[path] = str(error)
                continue
            if folder:
                folder.forget_frames(path, sources)
        todo = [source for source in sources if not (folder and folder.is_done(source, **asked))]
        work[path] = _Work(sources, todo)
        finished += not todo and not is_video(path)
        if len(todo) < len(sources) > 1:
            done = len(sources) - len(todo)
            print(f"{printable(path)}: {done} of {len(sources)} frames are finished already.", file=sys.stderr)
    if finished:
        print(f"{finished} of {len(paths)} files are finished already.", file=sys.stderr)
    return work


def _compute(
    args: argparse.Namespace,
    predictor: Predictor,
    work: Mapping[Path, _Work],
    names: Mapping[Path, str],
    folder: PredictionFolder | None,
    failed: dict[Path, str],
) -> dict[Source, tuple[dict, dict]]:
    """Predict, and write to the folder; without one, return the entries of "images" and "annotations"."""
    limit = predictor.cfg.INPUT.MAX_PIXELS
    found: dict[Source, tuple[dict, dict]] = {}
    reader = FrameReader(limit)
    left = {path: len(sources.todo) for path, sources in work.items()}

    def prepare(source: Source) -> dict[str, Any]:
        image = source.path if source.frame is None else reader.read(source)
        return predictor.prepare(image, source.path.stem)

    def fail(source: Source, problem: str) -> None:
        name = printable(source.path)
        failed.setdefault(source.path, problem if name in problem else f"{name}: {problem}")

    def finish_video(path: Path) -> None:
        if folder and path not in failed:
            try:
                draw_video(folder, path, names[path], predictor.categories, limit)
            except DatasetError as error:
                failed[path] = str(error)

    videos = [path for path in work if is_video(path)]
    for path in videos:
        if folder and left[path]:
            folder.video(names[path]).unlink(missing_ok=True)  # it shows other results
        elif folder and not folder.video(names[path]).is_file():
            finish_video(path)  # the program was ended before it was drawn
    todo = [source for sources in work.values() for source in sources.todo]
    images = prepared(todo, prepare, ahead=args.batch_size + 1)
    results = predictions(predictor, images, args.batch_size, fail)
    unit = "frame" if len(videos) == len(work) else "image"
    with tqdm(results, total=len(todo), unit=unit, disable=not show_bars()) as bar:
        for source, result in bar:
            path = source.path
            name = names[path]
            if result is not None and folder:
                folder.add(source, name, result, clusters=args.clusters)
            elif result is not None and args.json:
                number = numbered(name, source.frame)
                found[source] = result.coco_image(number), result.coco_annotation(number, rle=True)
            if result is not None and len(todo) == len(work) == 1 and args.json != "-" and not videos:
                bar.write(listed(result))
            elif result is not None and result.found and args.json != "-":
                bar.write(f"{numbered(name, source.frame)}: {', '.join(w.name for w in result.found.words) or NO_WORD}")
            left[path] -= 1
            if path in videos and not left[path]:
                finish_video(path)
    reader.close()
    return found


def _settings(predictor: Predictor) -> dict[str, Any]:
    """Return all that results depend on, in JSON's types."""
    cfg = predictor.cfg
    weights = weights_files(cfg)
    config = settings_that_matter(cfg, None if predictor.auto else predictor.classes)
    if cfg.TEST.DETECTIONS_PER_IMAGE != get_cfg().TEST.DETECTIONS_PER_IMAGE:
        config["TEST.DETECTIONS_PER_IMAGE"] = cfg.TEST.DETECTIONS_PER_IMAGE  # instances may be asked for later
    content = {
        "weights": {key: file_digest(local_weights(path, key)) for key, path in weights.items()},
        "words": predictor.auto.request.settings() if predictor.auto else predictor.vocabulary.classes,
        "classes": [] if predictor.auto else [[c.id, c.name, c.isthing] for c in predictor.categories],
        # images are shown upright whatever INPUT.EXIF_ORIENTATION is, which is about labels
        "config": {k: v for k, v in config.items() if k not in (*weights, "INPUT.EXIF_ORIENTATION")},
    }
    if predictor.auto:
        content["auto"] = auto_settings(cfg)
    return json.loads(msgspec.json.encode(content))
