"""Composites as a program, behind ``tools/predict_composite.py``: picture and background in, mask and depth out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
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
from ...files import atomic_path
from ...folder_lock import writing
from ...meta_arch import MaskDepthUNet
from ...reading import printable
from ..checkpoints.checkpointer import ZssegCheckpointer
from ..composite_task import check_nets
from ..config.packaged import find_configs
from ..config.setup import setup_cfg
from ..errors import ConfigError

DEFAULT_CONFIG = "composites/unet_small.yaml"
DEFAULT_WEIGHTS = "zsseg_d2://weights/mini_composites.safetensors"

_STEPS = 65535


@dataclass(frozen=True)
class CompositePrediction:
    """What was found in a picture.

    Attributes:
        probability: (H, W) float32 in [0, 1], of the pasted object.
        mask: (H, W) bool.
        depth: (H, W) float32; None of nets without depth.
    """

    probability: np.ndarray
    mask: np.ndarray
    depth: np.ndarray | None


def load_net(cfg: CfgNode) -> MaskDepthUNet:
    """Build the net of a config with its weights, in eval mode.

    Raises:
        ConfigError: the config is not of composites, or names no weights.
        CheckpointError: the weights are missing, or do not fit.
    """
    from ..training.trainer import Trainer

    check_nets(cfg, eval_only=True)
    if not cfg.MODEL.WEIGHTS:
        raise ConfigError("MODEL.WEIGHTS is empty. Fix: give those of a training: MODEL.WEIGHTS /path/to/file.pth")
    model = Trainer.build_model(cfg)
    ZssegCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return cast(MaskDepthUNet, model.eval())


def predict_composite(
    model: MaskDepthUNet, image: np.ndarray, background: np.ndarray | None, threshold: float = 0.5
) -> CompositePrediction:
    """Find the pasted object of one picture.

    Args:
        model: of :func:`load_net`.
        image: (H, W, 3) uint8 RGB.
        background: (H, W, 3) uint8 RGB; None for a net that sees the composite alone.
        threshold: probability above which a pixel is in the mask.

    Raises:
        ValueError: the net needs a background, or it has another size.
    """
    item = {"image": _planes(image)}
    if model.input != "composite":
        if background is None:
            raise ValueError("the net compares the picture with its background. Fix: give --background")
        if background.shape != image.shape:
            sizes = " and ".join(f"{x.shape[1]}x{x.shape[0]}" for x in (image, background))
            raise ValueError(f"picture and background have different sizes, {sizes}. Fix: give the same view")
        item["background"] = _planes(background)
    (found,) = model([item])
    probability = found["mask_logits"].sigmoid().cpu().numpy()
    depth = found["depth"].cpu().numpy() if "depth" in found else None
    return CompositePrediction(probability, probability > threshold, depth)


def _planes(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def run_composites(args: argparse.Namespace) -> int:
    """Do what the command line asks for; see :mod:`zsseg_d2.cli.predict_composite`.

    Raises:
        ConfigError: see the message.
    """
    default = not args.config_file
    options = [*(("MODEL.WEIGHTS", DEFAULT_WEIGHTS) if default else ()), *args.opts]
    files = find_configs(args.config_file or [DEFAULT_CONFIG])
    cfg = setup_cfg(argparse.Namespace(config_file=files, opts=options, eval_only=True))
    names = output_names(args.image)
    model, limit = load_net(cfg), cfg.INPUT.MAX_PIXELS
    backgrounds = args.background * (len(args.image) if len(args.background) == 1 else 1)
    output = Path(args.output)
    with writing(output, "predict_composite"):
        for k, path in enumerate(tqdm(args.image, unit="image", disable=None if len(args.image) > 1 else True)):
            image = read_rgb(path, limit)
            background = read_rgb(backgrounds[k], limit) if backgrounds else None
            try:
                found = predict_composite(model, image, background, cfg.MODEL.COMPOSITES.THRESHOLD)
            except ValueError as error:
                raise ConfigError(f"{printable(path)}: {error}.") from error
            write_prediction(output, names[k], image, found, cfg.MODEL.COMPOSITES.DEPTH_MAX)
    print(f"Masks, depths and cut-outs of {len(names)} images are in {printable(output)}")
    return 0


def output_names(paths: Sequence[str]) -> list[str]:
    """Return the names of the images without their endings.

    Raises:
        ConfigError: two images have the same one.
    """
    names = [Path(path).stem for path in paths]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"--image: two images are called '{printable(twice)}'. Fix: give them one by one")
    return names


def write_prediction(folder: Path, name: str, image: np.ndarray, found: CompositePrediction, depth_max: float) -> None:
    """Write ``<name>_mask.png``, ``<name>_cutout.png`` and, with depth, ``<name>_depth.png`` and ``depth.json``.

    Args:
        folder: is created if it is missing.
        name: of the image.
        image: (H, W, 3) uint8 RGB.
        found: of the image.
        depth_max: the depth of the largest value of 16 bits: metres, or 1 of relative depth.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_png(folder / f"{name}_mask.png", found.mask.astype(np.uint8) * 255)
    alpha = np.rint(255 * found.probability * found.mask).astype(np.uint8)
    with atomic_path(folder / f"{name}_cutout.png") as temporary:
        Image.fromarray(np.dstack([image, alpha])).save(temporary, format="PNG")
    if found.depth is None:
        return
    steps = np.rint(found.depth / depth_max * _STEPS).clip(0, _STEPS).astype(np.uint16)
    with atomic_path(folder / f"{name}_depth.png") as temporary:
        Image.fromarray(steps).save(temporary, format="PNG")
    kind = "relative" if depth_max == 1 else "metric"
    unit = {"unit": depth_max / _STEPS} if kind == "metric" else {}
    with atomic_path(folder / "depth.json") as temporary:
        temporary.write_text(json.dumps({"kind": kind, **unit, "near_is": "small"}, indent=2) + "\n", encoding="utf-8")
