"""Files of tensors: read without running code and within bounds, written to the same bytes each time."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .files import atomic_path
from .reading import UnusableFile, open_regular, printable

logger = logging.getLogger(__name__)

SAFETENSORS = ".safetensors"
LIMIT = 2**36
"""Bytes of the largest file that is read: 64 GB."""
_METADATA = "zsseg_d2"  # one entry: the format keeps no order of several, and bytes would differ from run to run
_DIGEST = "sha256"
_TYPES = frozenset(
    (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool)
    + (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
)


class TensorFile(NamedTuple):
    """Content of a file: tensors by name, and its other entries by name."""

    tensors: dict[str, Tensor]
    rest: dict[str, Any]


def read_tensors(path: str | os.PathLike) -> TensorFile:
    """Read a ``.safetensors`` file, or a file of ``torch.save`` with tensors at its top, or under ``model`` or
    ``state_dict``.

    Returns:
        Tensors on the CPU; and what else the file holds.

    Raises:
        FileNotFoundError: there is no such file.
        UnusableFile: the file is not a regular one, is damaged, could run code, expands when it is read, or holds
            something else than plain tensors with names.
    """
    content = _read_safetensors(path) if str(path).endswith(SAFETENSORS) else _read_pickled(path)
    if not content.tensors:
        raise UnusableFile(f"{printable(path)}: holds no weights. Fix: give a file with names and tensors.")
    for name, value in content.tensors.items():
        problem = _problem(name, value)
        if problem:
            raise UnusableFile(
                f"{printable(path)}: '{printable(name)}' {problem}. Fix: write the file anew with dense tensors under "
                "their names."
            )
    return content


def read_entries(path: str | os.PathLike) -> dict[str, Any]:
    """Read what a file holds besides tensors; of a safetensors file, without reading those.

    Raises:
        FileNotFoundError: there is no such file.
        UnusableFile: see :func:`read_tensors`.
    """
    if not str(path).endswith(SAFETENSORS):
        return _read_pickled(path).rest
    with open_regular(path, LIMIT):
        pass
    try:
        with safe_open(path, "pt") as file:
            return _metadata(file.metadata() or {})
    except (SafetensorError, ValueError, AttributeError) as error:
        raise _damaged(path, str(error)) from None


def write_tensors(path: str | os.PathLike, tensors: Mapping[str, Tensor], metadata: Mapping | None = None) -> None:
    """Write a safetensors file as a whole, with a digest of its tensors that :func:`read_tensors` compares.

    Args:
        path: its folder must exist.
        tensors: contiguous, none sharing memory with another.
        metadata: further entries, of JSON's types.
    """
    content = {**(metadata or {}), _DIGEST: tensor_digest(tensors)}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(dict(tensors), {_METADATA: json.dumps(content, sort_keys=True)}))


def save_checkpoint(content: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Write a file of ``torch.save`` as a whole; equal content gives equal bytes."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:  # by name, the file would hold that name
        torch.save(_canonical(content), file)


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, types, shapes and values, in hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _canonical(value: Any) -> Any:
    """Copy plain containers, so that pickle meets no object twice that another run of the program meets as two."""
    if isinstance(value, Mapping):
        return {_canonical(k): _canonical(v) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_canonical(v) for v in value)
    return sys.intern(value) if type(value) is str else value


def _read_safetensors(path: str | os.PathLike) -> TensorFile:
    with open_regular(path, LIMIT):
        pass
    try:
        with safe_open(path, "pt") as file:
            rest = _metadata(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, ValueError, AttributeError) as error:
        logger.debug("safe_open failed", exc_info=True)
        raise _damaged(path, str(error)) from None
    if _DIGEST in rest and rest.pop(_DIGEST) != tensor_digest(tensors):
        raise _damaged(path, "its tensors are not those that were written")
    return TensorFile(tensors, rest)


def _metadata(metadata: Mapping[str, str]) -> dict[str, Any]:
    others = {k: v for k, v in metadata.items() if k != _METADATA}
    try:
        own = json.loads(metadata.get(_METADATA, "{}"))
    except (ValueError, RecursionError):
        own = {}
    return {**others, **(own if isinstance(own, dict) else {})}


def _read_pickled(path: str | os.PathLike) -> TensorFile:
    with open_regular(path, LIMIT) as file:
        if _is_zip(file):
            _check_archive(path, file)
        file.seek(0)
        content = _load(path, file)
    if not isinstance(content, Mapping):
        raise UnusableFile(f"{printable(path)}: holds no weights. Fix: give a file with names and tensors.")
    key = next((k for k in ("model", "state_dict") if isinstance(content.get(k), Mapping)), None)
    if key is None:
        return TensorFile(dict(content), {})
    return TensorFile(dict(content[key]), {k: v for k, v in content.items() if k != key})


def _load(path: str | os.PathLike, file: IO[bytes]) -> Any:
    # Torch's own message advises to read the file without protection; the user is told something else.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of the file's format
            return torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception:
        logger.debug("torch.load failed", exc_info=True)
        raise UnusableFile(
            f"{printable(path)}: cannot be read as weights. It is damaged, or a pickle that could run code, which "
            "zsseg_d2 does not load. Fix: get the file again, or convert it to safetensors where you trust it."
        ) from None


def _is_zip(file: IO[bytes]) -> bool:
    file.seek(0)
    return file.read(4) == b"PK\x03\x04"


def _check_archive(path: str | os.PathLike, file: IO[bytes]) -> None:
    """Refuse archives that expand or are damaged; torch checks neither."""
    size = os.fstat(file.fileno()).st_size
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if any(entry.filename.endswith("/constants.pkl") for entry in entries):
                raise _torchscript(path)
            if any(e.compress_type != zipfile.ZIP_STORED for e in entries) or sum(e.file_size for e in entries) > size:
                raise UnusableFile(
                    f"{printable(path)}: is a compressed archive, which may expand to any size; torch.save writes "
                    "none. Fix: get the file again, or convert it to safetensors where you trust it."
                )
            bad = archive.testzip()
    except UnusableFile:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise _damaged(path, str(error)) from None
    if bad is not None:
        raise _damaged(path, f"the checksum of its part '{printable(bad)}' is wrong")


def _torchscript(path: str | os.PathLike) -> UnusableFile:
    target = Path(path).with_suffix(".state.pth").name
    return UnusableFile(
        f"{printable(path)}: is a TorchScript archive, as OpenAI publishes CLIP; reading it can run code. Fix: if you "
        f"trust it, convert it once: python -c \"import torch; torch.save(torch.jit.load('{printable(path)}', "
        f"map_location='cpu').float().state_dict(), '{target}')\" and give {target}."
    )


def _problem(name: object, value: object) -> str | None:
    """Say what keeps an entry from being a plain tensor with a name."""
    if not isinstance(name, str):
        return "is not a name but a number or the like"
    if not isinstance(value, Tensor):
        return f"is no tensor, so the file holds no weights ({type(value).__name__})"
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        return "is a sparse, quantized or nested tensor"
    if value.device.type != "cpu":
        return "is a tensor without values"
    if value.dtype not in _TYPES:
        return f"has the type {str(value.dtype).removeprefix('torch.')}, which is not supported"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "claims more values than the file has"
    return None


def _damaged(path: str | os.PathLike, reason: str) -> UnusableFile:
    return UnusableFile(f"{printable(path)}: is damaged ({printable(reason)}). Fix: get or write the file again.")
