"""Reading weights files without running code."""

from __future__ import annotations

import os
from collections.abc import Mapping

from torch import Tensor

from ...compat import load_weights
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
        CheckpointError: the file is a pickle or damaged, or holds no weights.
    """
    if path.endswith((".pkl", ".pickle")):
        raise CheckpointError(
            f"'{path}' is a pickle, which can run any code when it is read. If you trust it, convert it once: "
            + _CONVERT.format(path, os.path.splitext(path)[0] + ".pth")
        )
    loaded = _read(path)
    if isinstance(loaded, Mapping):
        key = next((k for k in ("model", "state_dict") if isinstance(loaded.get(k), Mapping)), None)
        checkpoint = {"model": dict(loaded)} if key is None else {**loaded, "model": dict(loaded[key])}
        if checkpoint["model"] and all(isinstance(v, Tensor) for v in checkpoint["model"].values()):
            return checkpoint
    raise CheckpointError(f"'{path}' holds no weights: expected names and tensors, or those under 'model'.")


def _read(path: str) -> object:
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path)
        return load_weights(path)
    except CheckpointError:
        raise
    except Exception as error:
        message = str(error) if isinstance(error, RuntimeError) else f"Cannot read '{path}': {error}"
        raise CheckpointError(message) from error
