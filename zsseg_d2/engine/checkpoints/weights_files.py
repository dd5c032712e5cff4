"""Files of weights alone, without the state of a training: safetensors, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ...reading import UnusableFile
from ...tensor_files import SAFETENSORS, read_tensors, tensor_digest, write_tensors
from ..errors import CheckpointError, ConfigError
from .reading import read_checkpoint
from .sources import local_weights

SUFFIX = SAFETENSORS


def find_weights(path: str | os.PathLike) -> Path:
    """Return the local file of a path, a URL or ``zsseg_d2://…``.

    Raises:
        CheckpointError: there is no such file, or it cannot be fetched.
    """
    if "://" in str(path):
        return Path(local_weights(str(path)))
    local = Path(path).expanduser()
    if not local.is_file():
        raise CheckpointError(f"There is no file of weights '{path}' ({local.absolute()}).")
    return local


def read_weights(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read names and tensors of a checkpoint or of a weights file.

    Raises:
        CheckpointError: there is no such file, or it has no weights that can be read.
    """
    return read_checkpoint(str(find_weights(path)))["model"]


def check_output(path: str | os.PathLike, *, overwrite: bool = True) -> Path:
    """Check a path to write weights to, and return it.

    Raises:
        ConfigError: it does not end in ``.safetensors``.
        FileExistsError: something is there, and `overwrite` is False.
    """
    path = Path(path).expanduser()
    if path.suffix != SUFFIX:
        raise ConfigError(f"The output '{path}' must end in {SUFFIX}. Fix: name it so.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"'{path}' exists already. Give another name, or --overwrite to replace it.")
    return path


def holds_already(path: Path, state: Mapping[str, Tensor], metadata: Mapping) -> bool:
    """Return whether a file holds just these weights and entries, as after a run that was killed before its end.

    Args:
        path: of the file, which may be anything.
        state: names and tensors.
        metadata: entries of the file, of JSON's types.
    """
    try:
        found = read_tensors(path)
    except (OSError, UnusableFile):
        return False
    return found.rest == json.loads(json.dumps(metadata)) and tensor_digest(found.tensors) == tensor_digest(state)


def write_weights(
    path: str | os.PathLike, state: Mapping[str, Tensor], *, half: bool = False, metadata: Mapping | None = None
) -> str:
    """Write a safetensors file as a whole; missing folders are made.

    Args:
        path: ends in ``.safetensors``.
        state: names and tensors.
        half: floating-point tensors in half precision.
        metadata: entries of the file, of JSON's types.

    Returns:
        One line for the user: file, number of tensors, size.
    """
    path = check_output(path)
    written: dict[str, Tensor] = {}
    memory: set[int] = set()
    for name, value in state.items():
        value = (value.half() if half and value.is_floating_point() else value).contiguous()
        # Two names of one tensor, such as CLIP's in two models that share it; the format has no place for that.
        written[name] = value.clone() if value.untyped_storage().data_ptr() in memory else value
        memory.add(value.untyped_storage().data_ptr())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, written, metadata)
    return f"wrote {path}: {len(written)} tensors, {path.stat().st_size / 1e6:.1f} MB"
