"""Where the weights of a run come from: the config keys that name files, and the local file behind a name."""

from __future__ import annotations

import logging
import os
from itertools import product
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils.file_io import PathManager
from torch import nn

from ..config.packaged import packaged_configs, packaged_towers
from ..errors import CheckpointError
from .download import download, is_web_address

logger = logging.getLogger(__name__)


def part_weights(model: nn.Module) -> dict[str, tuple[str, str]]:
    """Map each submodule with weights of its own to (config key, file); empty for a single model."""
    return dict(getattr(model, "initial_weights", {}))


def frozen_parts(model: nn.Module) -> tuple[str, ...]:
    """Return the state-dict prefixes of submodules that are neither trained nor saved, such as a teacher."""
    return tuple(f"{part}." for part in getattr(model, "frozen_parts", ()))


def weights_to_read(cfg: CfgNode, *, eval_only: bool = False, resume: bool = False) -> dict[str, str]:
    """Map each config key to its file, for all weights that a model of `cfg` starts from.

    An evaluation does not need the teacher. A resumed training needs its own checkpoint and the teacher.
    """
    files = {"MODEL.WEIGHTS": cfg.MODEL.WEIGHTS} if cfg.MODEL.WEIGHTS and not resume else {}
    architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    frozen = getattr(architecture, "frozen_parts", ())
    for part, (key, path) in getattr(architecture, "part_weights", lambda _: {})(cfg).items():
        needed = not eval_only if part in frozen else not (cfg.MODEL.WEIGHTS or resume)
        if needed:
            files[key] = path
    return files


def local_weights(path: str, key: str = "MODEL.WEIGHTS", *, phrases: bool = False) -> str:
    """Return the local file of a path, of a URL (see :func:`.download.download`), or of ``zsseg_d2://…``.

    Args:
        path: as in the config.
        key: the config key that names it, for messages.
        phrases: whether they are of a model of phrases, for messages.

    Returns:
        The path of the local file.

    Raises:
        CheckpointError: the file does not exist or cannot be downloaded.
    """
    if is_web_address(path):
        try:
            return str(download(path))
        except CheckpointError as error:
            raise CheckpointError(f"{key}: {error}") from error
    try:
        local = PathManager.get_local_path(path)
    except Exception as error:
        logger.debug("get_local_path failed", exc_info=True)
        raise CheckpointError(
            f"The weights '{path}' could not be fetched ({type(error).__name__}: {error}). Fix: download them on a "
            f"machine with a network and give the local file: {key} /path/to/file.pth"
        ) from error
    local = os.path.expanduser(local)
    if not os.path.isfile(local):
        raise CheckpointError(
            f"{key}: there are no weights '{path}' ({os.path.abspath(local)}). {_remedy(path, key, phrases)}"
        )
    return local


def _remedy(path: str, key: str, phrases: bool) -> str:
    """Say where missing weights come from: a training whose OUTPUT_DIR they lie in, or what their authors released."""
    if path.startswith("${"):
        return "The config was merged without its references. Fix: load it by zsseg_d2.engine.setup_cfg."
    if key.startswith("ZSSEG.INTERPOLATION."):
        program = "python tools/feature_statistics.py --config-file CONFIG --of DATASET --output"
        return f"They are made by `{program} {path}`."
    command = _training_command(Path(path))
    if command:
        return f"They are made by `{command}`; or give another file: {key} /path/to/file.pth."
    released = (
        "CLIPSeg's released weights are model.safetensors of https://huggingface.co/CIDAS/clipseg-rd64-refined"
        if phrases
        else "Released FC-CLIP weights are listed under 'Model Zoo' at https://github.com/bytedance/fc-clip"
    )
    return f"{released}; put the file there, or give its place: {key} /path/to/file." + (
        ' MODEL.WEIGHTS "" starts from random weights.' if key == "MODEL.WEIGHTS" else ""
    )


def _training_command(path: Path) -> str:
    """Return the command that writes ``output/<config>[_<tower>]/…``; empty if no packaged config does."""
    if path.parts[:1] != ("output",):
        return ""
    run = Path(*path.parts[1:-1]).as_posix()
    towers = ["", *(f" configs/{tower}" for tower in packaged_towers())]
    for config, tower in product(packaged_configs(), towers):
        suffix = f"_{Path(tower).stem}" if tower else ""
        if run == f"{config.removesuffix('.yaml')}{suffix}":
            return f"python tools/train_net.py --config-file configs/{config}{tower}"
    return ""
