"""Prediction as a program, behind ``tools/predict.py``: images and words in, named segments out."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm

from ...files import file_digest
from ...folder_lock import writing
from ...process import keep_freed_memory
from ...reading import printable
from ..checkpoints.sources import local_weights
from ..config.packaged import find_configs
from ..errors import ConfigError, explanation
from ..pseudo_labeling.labeling_config import settings_that_matter, weights_files
from ..training.hooks import show_bars
from .folder import PredictionFolder, print_json, relative_names
from .inputs import find_images, name_images, prepared
from .predictor import DEFAULT_CONFIG, Predictor
from .result import Prediction, coco_panoptic

EMBEDDED = (
    "note: this is the embedded model for drawn street scenes. For photographs, put fcclip_cocopan.pth ('Model Zoo' of "
    "https://github.com/bytedance/fc-clip) into weights/, and add --config-file configs/coco/fcclip.yaml "
    "configs/towers/convnext_large.yaml MODEL.WEIGHTS weights/fcclip_cocopan.pth (docs/predict.md)."
)


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
    if args.json and not Path(args.json).expanduser().parent.is_dir():
        raise ConfigError(f"--json {printable(args.json)}: its folder does not exist. Fix: make it, or name another.")
    paths = find_images(args.images, output)
    if find_configs(args.config_file) == find_configs(DEFAULT_CONFIG) and "MODEL.WEIGHTS" not in args.opts:
        print(EMBEDDED, file=sys.stderr)
    predictor = Predictor(
        args.config_file,
        args.words,
        options=args.opts,
        device=args.device,
        semantic=args.semantic,
        instances=args.instances,
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
        print(f"error: {len(failed)} of {len(paths)} images gave no result; the others did.", file=sys.stderr)
    return 1 if failed else 0


def _predict(
    args: argparse.Namespace, predictor: Predictor, paths: Sequence[Path], output: Path | None
) -> dict[Path, str]:
    """Predict all images that are not finished, write what was asked for, and return the problem of each failed one."""
    folder = None
    if output:
        folder = PredictionFolder(output, _settings(predictor), overwrite=args.overwrite)
    names = folder.names(paths) if folder else name_images(paths, {})
    asked = {"semantic": args.semantic, "instances": args.instances}
    todo = [path for path in paths if not (folder and folder.is_done(path, **asked))]
    if len(todo) < len(paths):
        print(f"{len(paths) - len(todo)} of {len(paths)} images are finished already.", file=sys.stderr)
    failed: dict[Path, str] = {}
    found: dict[Path, tuple[dict, dict]] = {}
    bar = tqdm(prepared(todo, predictor.prepare), total=len(todo), unit="image", disable=not show_bars())
    for path, item in bar:
        try:
            result = predictor.predict(item())
        except (ConfigError, KeyboardInterrupt):
            raise
        except Exception as error:  # of this image; explanation() tells bugs apart
            problem = explanation(error)
            if problem is None:
                raise
            failed[path] = problem if printable(path) in problem else f"{printable(path)}: {problem}"
            continue
        if folder:
            folder.add(path, names[path], result)
        elif args.json:
            found[path] = result.coco_image(names[path]), result.coco_annotation(names[path], rle=True)
        if len(paths) == 1 and args.json != "-":
            bar.write(_listed(result))
    if folder:
        folder.finish(predictor.categories, instances=args.instances, table=args.csv)
        print(f"{output}: {len(folder.entries)} images in panoptic.json", file=sys.stderr)
    if args.json:
        good = [path for path in paths if path not in failed]
        content = folder.to_coco(predictor.categories, good, rle=True) if folder else _coco(predictor, found)
        print_json(content, args.json)
    return failed


def _coco(predictor: Predictor, found: dict[Path, tuple[dict, dict]]) -> dict[str, Any]:
    names = relative_names([str(path.absolute()) for path in found])
    images = [{**image, "file_name": name} for (image, _), name in zip(found.values(), names)]
    return coco_panoptic(images, [annotation for _, annotation in found.values()], predictor.categories)


def _listed(result: Prediction) -> str:
    """List the segments of an image, a line each."""
    area = result.panoptic.size
    lines = (f"{s.score:.2f}  {100 * s.area / area:5.1f} %  {s.label}" for s in result.segments)
    return "\n".join(("score   area   class", *lines)) if result.segments else "No word was found."


def _settings(predictor: Predictor) -> dict[str, Any]:
    """Return all that results depend on, in JSON's types."""
    weights = weights_files(predictor.cfg)
    content = {
        "weights": {key: file_digest(local_weights(path, key)) for key, path in weights.items()},
        "words": predictor.vocabulary.classes,
        "classes": [[c.id, c.name, c.isthing] for c in predictor.categories],
        "config": {k: v for k, v in settings_that_matter(predictor.cfg).items() if k not in weights},
    }
    return json.loads(msgspec.json.encode(content))
