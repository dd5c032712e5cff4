"""Composites as a program, behind ``tools/predict_composite.py``: picture and background in, mask and depth out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import torch
from detectron2.config import CfgNode
from PIL import Image
from tqdm import tqdm

from ...data.composites.depth import DESCRIPTION, METRIC, DepthFormat, depth_name, write_depth
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

_LARGEST = 65535  # value of 16 bits


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
        if background is None or background.shape != image.shape:
            raise ValueError("the net needs a background of the picture's size")
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
    names, limit = output_names(args.image), cfg.INPUT.MAX_PIXELS
    backgrounds = args.background * (len(args.image) if len(args.background) == 1 else 1)
    pairs = list(zip(args.image, backgrounds or [None] * len(args.image)))
    for path, background in pairs:  # a damaged one is reported now; none is kept, as there may be thousands
        _check_pair(cfg, path, read_rgb(path, limit), background, background and read_rgb(background, limit))
    model, output = load_net(cfg), Path(args.output)
    with writing(output, "predict_composite"):
        progress = tqdm(pairs, unit="image", disable=None if len(pairs) > 1 else True)
        for name, (path, background) in zip(names, progress):
            image = read_rgb(path, limit)
            behind = read_rgb(background, limit) if background else None
            found = predict_composite(model, image, behind, cfg.MODEL.COMPOSITES.THRESHOLD)
            write_prediction(output, name, image, found, depth_format(cfg))
    print(f"Masks, depths and cut-outs of {len(names)} images are in {printable(output)}")
    return 0


def depth_format(cfg: CfgNode) -> DepthFormat:
    """Return what the values of written depth maps mean: near is small, and metres share 16 bits evenly."""
    settings = cfg.MODEL.COMPOSITES
    return DepthFormat(cfg.INPUT.COMPOSITES.DEPTH_KIND, settings.DEPTH_MAX / _LARGEST)


def _check_pair(
    cfg: CfgNode, path: str, image: np.ndarray, background_path: str | None, background: np.ndarray | None
) -> None:
    if background is None and cfg.MODEL.COMPOSITES.INPUT != "composite":
        raise ConfigError(
            f"{printable(path)}: the net compares the picture with its background. Fix: give --background."
        )
    if background is not None and background.shape != image.shape:
        sizes = " and ".join(f"{x.shape[1]}x{x.shape[0]}" for x in (image, background))
        raise ConfigError(
            f"{printable(path)} and {printable(str(background_path))} have different sizes, {sizes}. Fix: give the "
            "same view."
        )


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


def write_prediction(
    folder: Path, name: str, image: np.ndarray, found: CompositePrediction, format: DepthFormat
) -> None:
    """Write ``<name>_mask.png`` and ``<name>_cutout.png``; with depth also ``depth.json`` and ``<name>_depth.png``.

    Relative depth is in ``<name>_relative_depth.png``.

    Args:
        folder: is created if it is missing.
        name: of the image.
        image: (H, W, 3) uint8 RGB.
        found: of the image.
        format: of the depth; see :func:`depth_format`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_png(folder / f"{name}_mask.png", found.mask.astype(np.uint8) * 255)
    alpha = np.rint(255 * found.probability * found.mask).astype(np.uint8)
    with atomic_path(folder / f"{name}_cutout.png") as temporary:
        Image.fromarray(np.dstack([image, alpha])).save(temporary, format="PNG")
    if found.depth is None:
        return
    with atomic_path(folder / f"{name}_{depth_name(format.kind)}.png") as temporary:
        write_depth(temporary, found.depth if format.kind == METRIC else found.depth.clip(0, 1), format)
    description = {key: value for key, value in msgspec.to_builtins(format).items() if key != "unit"}
    if format.kind == METRIC:
        description["unit"] = format.unit
    with atomic_path(folder / DESCRIPTION) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(description)) + b"\n")
