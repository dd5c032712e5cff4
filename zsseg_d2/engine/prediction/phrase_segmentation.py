"""Phrase segmentation as a program, behind ``tools/segment.py``: images and phrases in, masks out."""

from __future__ import annotations

import argparse
import logging
import re
import sys
import unicodedata
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from detectron2.config import CfgNode
from PIL import Image
from tqdm import tqdm

from ...data.images.reading import read_rgb
from ...data.panoptic.png import write_png
from ...data.phrasecut.prompts import prompt_templates
from ...data.phrasecut.visual_prompts import visual_prompt
from ...evaluation.drawing import fitted
from ...evaluation.referring.phrase_visualization import COLOURS, paint_mask, panel, save_image, sheet
from ...folder_lock import writing
from ...meta_arch import ReferringSegmentor
from ...modeling.clip.context import read_alike
from ...process import keep_freed_memory
from ...vocabulary import clip_tokens
from ..checkpoints.checkpointer import ZssegCheckpointer
from ..checkpoints.sources import local_weights
from ..config.setup import setup_cfg
from ..errors import ConfigError
from ..referring_task import is_referring
from .embedded import is_embedded

DEFAULT_CONFIG = "miniphrases/unet_vit.yaml"
DEFAULT_WEIGHTS = "zsseg_d2://weights/mini_phrases.safetensors"

_PANEL = 320  # pixels
_MOST_COLUMNS = 4
_NAME_BYTES = 60  # of a phrase in the name of a file


@dataclass(frozen=True)
class PhrasePrediction:
    """The mask of a phrase in an image."""

    phrase: str
    probability: np.ndarray  # (H, W) float32 in [0, 1]
    mask: np.ndarray  # (H, W) bool

    @property
    def score(self) -> float:
        """Mean probability inside the mask; 0 if it is empty."""
        return float(self.probability[self.mask].mean()) if self.mask.any() else 0.0


def build_segmentor(cfg: CfgNode) -> ReferringSegmentor:
    """Build the model of a config with its weights, for :func:`segment`.

    Raises:
        ConfigError: the config is not of phrase segmentation, or names no weights.
        CheckpointError: the weights do not fit.
    """
    from ..training.trainer import Trainer

    if not is_referring(cfg):
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE={cfg.MODEL.META_ARCHITECTURE}: phrases need ReferringSegmentor. "
            "Fix: use tools/predict.py for words."
        )
    if not cfg.MODEL.WEIGHTS:
        raise ConfigError(
            "MODEL.WEIGHTS is empty, and a random decoder finds nothing. Fix: MODEL.WEIGHTS /path/to/model_final.pth"
        )
    local_weights(cfg.MODEL.WEIGHTS, phrases=True)
    model = Trainer.build_model(cfg)
    ZssegCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return cast(ReferringSegmentor, model.eval())


@torch.no_grad()
def segment(
    model: ReferringSegmentor,
    image: np.ndarray,
    phrases: Sequence[str],
    *,
    threshold: float = 0.5,
    example: np.ndarray | None = None,
) -> list[PhrasePrediction]:
    """Segment phrases in an image.

    Args:
        model: of :func:`build_segmentor`.
        image: (H, W, 3) uint8 RGB.
        phrases: N texts.
        threshold: pixels of a greater probability belong to the mask.
        example: (S, S, 3) uint8, an image prompt for models that take one.

    Returns:
        N results, in the order of the phrases.

    Raises:
        ConfigError: two phrases are so long that CLIP reads the same of both.
    """
    (template,) = prompt_templates(model.test_prompts)
    check_distinct(model, phrases)
    small = Image.fromarray(image).resize((model.image_size, model.image_size), Image.Resampling.BILINEAR)
    shared = {"image": _tensor(np.asarray(small)), "height": image.shape[0], "width": image.shape[1]}
    if example is not None:
        shared["visual_prompt"] = _tensor(example)
    found = []
    for text, output in zip(phrases, model([{**shared, "prompt": template.format(text)} for text in phrases])):
        probability = output["mask_logits"].sigmoid().cpu().numpy()
        found.append(PhrasePrediction(text, probability, probability > threshold))
    return found


def check_distinct(model: ReferringSegmentor, phrases: Sequence[str]) -> None:
    """Check that CLIP tells phrases apart.

    Raises:
        ConfigError: two are so long that it reads the same of both.
    """
    (template,) = prompt_templates(model.test_prompts)
    different = {clip_tokens(phrase): phrase for phrase in phrases}.values()
    prompts = {template.format(phrase): phrase for phrase in different}
    same = read_alike(model.backbone.tokenizer, list(prompts))
    if same:
        one, other = (prompts[prompt] for prompt in same)
        raise ConfigError(
            f"--phrase {one!r} and {other!r}: CLIP reads only the beginning of long texts, and these begin alike. "
            "Fix: shorten the phrases."
        )


def overlays(image: np.ndarray, found: Sequence[PhrasePrediction]) -> Image.Image:
    """Draw the image, then every phrase with its mask and score, four in a row."""
    size = fitted(image, 2 * _PANEL)
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    panels = [panel(image, "image", _PANEL)]
    for k, result in enumerate(found):
        score = f"{result.score:.2f}" if result.mask.any() else "not found"
        mask = np.asarray(Image.fromarray(result.mask).resize(size, Image.Resampling.NEAREST))
        panels.append(panel(paint_mask(small, mask, COLOURS[k % len(COLOURS)]), f"{result.phrase} · {score}", _PANEL))
    return sheet([panels[k : k + _MOST_COLUMNS] for k in range(0, len(panels), _MOST_COLUMNS)])


def save_masks(found: Sequence[PhrasePrediction], folder: Path) -> list[Path]:
    """Write ``01_red_car.png`` (white on black) and ``01_red_car_probability.png`` (white is 1) of each phrase."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k, result in enumerate(found, start=1):
        name = f"{k:02d}_{_slug(result.phrase)}"
        for suffix, pixels in (("", 255 * result.mask), ("_probability", np.rint(255 * result.probability))):
            paths.append(folder / f"{name}{suffix}.png")
            write_png(paths[-1], pixels.astype(np.uint8))
    return paths


def run_segmenting(args: argparse.Namespace) -> int:
    """Segment as the command line says, and return the exit status.

    Args:
        args: as parsed by :mod:`zsseg_d2.cli.segment`.

    Raises:
        ConfigError, CheckpointError, DatasetError: before any image is segmented.
    """
    logging.getLogger("detectron2").setLevel(logging.WARNING)
    keep_freed_memory()
    # Errors in the arguments are reported before the model is built.
    phrases = [" ".join(phrase.split()) for phrase in args.phrase]
    if not all(phrases):
        raise ConfigError('--phrase is empty. Fix: name what to look for, as in --phrase "red car"')
    cfg = _config(args)
    limit = cfg.INPUT.MAX_PIXELS
    for path in args.image:  # a damaged one is reported now; none is kept, as there may be thousands
        read_rgb(path, limit)
    targets = _targets(args)
    model = build_segmentor(cfg)
    example = _example(args, cfg)
    check_distinct(model, phrases)
    several = len(args.image) > 1
    folders = [targets[0].parent] if not Path(args.output).suffix else []  # a single file is written at once
    folders += [Path(args.save_masks)] if args.save_masks else []
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(writing(folder, "segment.py"))
        for path, target in tqdm(list(zip(args.image, targets)), disable=None if several else True, unit="image"):
            image = read_rgb(path, limit)
            found = segment(model, image, phrases, threshold=cfg.MODEL.REFERRING.THRESHOLD, example=example)
            save_image(overlays(image, found), target)
            for result in found:
                share = 100 * result.mask.mean()
                tqdm.write(f"{path}: {result.phrase!r}: score {result.score:.2f}, {share:.1f} % of the image")
            tqdm.write(f"wrote {target}")
            if args.save_masks:
                folder = Path(args.save_masks) / target.stem if several else Path(args.save_masks)
                save_masks(found, folder)
                tqdm.write(f"wrote {len(found)} masks and their probabilities to {folder}")
    return 0


def segmentor_config(config_file: str | Sequence[str] = DEFAULT_CONFIG, options: Sequence[str] = ()) -> CfgNode:
    """Read the config of a model for phrases; the default one has the embedded weights.

    Args:
        config_file: a file or several, by path or packaged name.
        options: KEY VALUE pairs on top.

    Raises:
        ConfigError: see :func:`zsseg_d2.engine.config.setup.setup_cfg`.
    """
    options = list(options)
    if is_embedded(config_file, DEFAULT_CONFIG, options):
        options += ["MODEL.WEIGHTS", DEFAULT_WEIGHTS]
    return setup_cfg(argparse.Namespace(config_file=config_file, opts=options, eval_only=True))


def _config(args: argparse.Namespace) -> CfgNode:
    options = list(args.opts)
    if args.threshold is not None:
        options += ["MODEL.REFERRING.THRESHOLD", str(args.threshold)]
    if args.example:
        trained = segmentor_config(args.config_file, options)
        if trained.MODEL.REFERRING.CONDITION == "text":
            print("warning: this model was trained with phrases only, not with image prompts", file=sys.stderr)
        options += ["MODEL.REFERRING.CONDITION", "mixed" if args.phrase_is_given else "image"]
    cfg = segmentor_config(args.config_file, options)
    condition = cfg.MODEL.REFERRING.CONDITION
    if condition != "text" and not args.example:
        raise ConfigError(
            f"MODEL.REFERRING.CONDITION={condition}: needs an image prompt. Fix: --example IMAGE, or 'text'."
        )
    return cfg


def _targets(args: argparse.Namespace) -> list[Path]:
    """Return the output of each image: --output for one, files of the images' names in that folder for several."""
    targets = _named_targets(args)
    read = {Path(path).resolve() for path in (*args.image, args.example, args.example_mask) if path}
    for target in targets:
        if target.resolve() in read:
            raise ConfigError(f"--output would overwrite '{target}', which is read; name another file or folder.")
    return targets


def _named_targets(args: argparse.Namespace) -> list[Path]:
    output = Path(args.output)
    if len(args.image) == 1 and output.suffix:
        if output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise ConfigError(f"--output '{output}' must end in .png or .jpg.")
        return [output]
    names = [f"{Path(path).stem}.png" for path in args.image]
    if len(set(names)) < len(names):
        raise ConfigError("Two of the images have the same name; segment them one by one, each with its --output.")
    if output.suffix:
        raise ConfigError(f"--output '{output}' is one file, but there are {len(names)} images; name a folder.")
    return [output / name for name in names]


def _example(args: argparse.Namespace, cfg: CfgNode) -> np.ndarray | None:
    """Make the image prompt: an image, and a region of it if a mask is given."""
    if not args.example:
        return None
    image = read_rgb(args.example, cfg.INPUT.MAX_PIXELS)
    mask = np.zeros(image.shape[:2], bool)
    if args.example_mask:
        mask = read_rgb(args.example_mask, cfg.INPUT.MAX_PIXELS).max(-1) > 127
        if mask.shape != image.shape[:2]:
            raise ConfigError(f"'{args.example_mask}' has not the size of '{args.example}'.")
    return visual_prompt(image, mask, cfg.INPUT.PHRASE.SIZE)


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def _slug(text: str) -> str:
    """Reduce a phrase to letters of any script, digits and underscores, which cannot leave a folder."""
    words = re.sub(r"[\W_]+", "_", unicodedata.normalize("NFC", text).lower()).strip("_")
    # File systems count bytes; a letter has up to four.
    return words.encode()[:_NAME_BYTES].decode(errors="ignore") or "phrase"
