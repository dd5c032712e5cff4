"""Reading weights files without running code."""

from __future__ import annotations

import os

from ...reading import UnusableFile
from ...tensor_files import read_tensors
from ..errors import CheckpointError

_CONVERT = (
    "python -c \"import pickle, torch; w = pickle.load(open('{0}', 'rb'), encoding='latin1'); w = w.get('model', w); "
    "torch.save({{k: torch.as_tensor(v) for k, v in w.items()}}, '{1}')\""
)


def read_checkpoint(path: str) -> dict:
    """Read a ``.pth``, ``.pt`` or ``.safetensors`` file.

    Returns:
        The checkpoint, with its weights (names and tensors) under ``"model"``.

    Raises:
        CheckpointError: the file is a pickle or damaged, or holds no weights; see
            :func:`zsseg_d2.tensor_files.read_tensors`.
    """
    if path.endswith((".pkl", ".pickle")):
        raise CheckpointError(
            f"'{path}' is a pickle, which can run any code when it is read. If you trust it, convert it once: "
            + _CONVERT.format(path, os.path.splitext(path)[0] + ".pth")
        )
    try:
        content = read_tensors(path)
    except UnusableFile as error:
        raise CheckpointError(str(error)) from error
    return {**content.rest, "model": content.tensors}
