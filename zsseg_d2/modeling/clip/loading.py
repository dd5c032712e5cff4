"""Build open_clip models by name from packaged configs, files and pre-training tags.

open_clip is imported where it is used: it takes a quarter of the time in which the package is imported.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...files import local_path
from ...registry import did_you_mean
from ...tensor_files import read_tensors

_PACKAGED = resources.files("zsseg_d2.modeling.clip") / "configs"
logger = logging.getLogger(__name__)


def resolve_clip_name(name: str) -> str:
    """Make a model known to open_clip.

    Args:
        name: one of open_clip's models, a packaged config, or a path to a JSON config file.

    Returns:
        The name under which ``open_clip.create_model`` builds it.

    Raises:
        ValueError: If there is no such model; the message lists close names.
    """
    import open_clip

    if name in open_clip.list_models():
        return name
    path = Path(str(_PACKAGED / f"{name}.json"))
    if not path.is_file():
        path = Path(name).expanduser()
    if path.suffix == ".json" and path.is_file():
        try:
            json.loads(path.read_text(encoding="utf-8"))["vision_cfg"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"MODEL.FC_CLIP.CLIP_MODEL_NAME='{name}': '{path}' is not an open_clip model config ({error!r})."
            ) from error
        open_clip.add_model_config(path)
        return path.stem
    raise ValueError(
        f"MODEL.FC_CLIP.CLIP_MODEL_NAME='{name}': neither an open_clip model nor a JSON config file."
        f"{did_you_mean(name, open_clip.list_models(), 4)} Fix: name one of open_clip.list_models()."
    )


def build_tokenizer(name: str) -> Callable[[list[str]], torch.Tensor]:
    """Build the tokenizer of a resolved model name: strings to (len, context) int64 tokens.

    A config may name its own byte-pair merges by a file name relative to the packaged configs.
    """
    import open_clip

    text = open_clip.get_model_config(name)["text_cfg"]
    kwargs = dict(text.get("tokenizer_kwargs") or {})
    if "bpe_path" in kwargs and not Path(kwargs["bpe_path"]).is_absolute():
        kwargs["bpe_path"] = str(_PACKAGED / kwargs["bpe_path"])
    return open_clip.get_tokenizer(name, **kwargs)


def create_clip(name: str, weights: str) -> nn.Module:
    """Build an open_clip model in float32 on the CPU.

    Args:
        name: resolved model name (:func:`resolve_clip_name`).
        weights: a local file, an open_clip pre-training tag, or "" for random weights without using the network.

    Raises:
        FileNotFoundError: If the file is missing or the tag cannot be downloaded.
        ValueError: If the weights do not fit the model, or the file is damaged or could run code.
    """
    import open_clip

    if not weights:
        return _create(name)
    path = local_path(weights)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if path.is_file():
        # OpenAI trained with QuickGELU, which a file does not record. So weights of an architecture that OpenAI
        # published are assumed to be OpenAI's; those trained with GELU need a JSON config of their own.
        quick = "openai" in tags
        if quick:
            logger.info("'%s' is assumed to be OpenAI's '%s': its text tower uses QuickGELU.", path, name)
        model = _create(name, force_quick_gelu=quick)
        _load_file(model, path, name)
        return model
    if weights not in tags:
        raise FileNotFoundError(
            f"MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS='{weights}': neither a file nor a tag of open_clip's '{name}' "
            f'(tags: {", ".join(tags) or "none"}). Fix: give a .pt or .safetensors file, or "" for random weights.'
        )
    try:
        return open_clip.create_model(name, pretrained=weights, force_quick_gelu=weights == "openai")
    except Exception as error:
        logger.debug("open_clip download failed", exc_info=True)
        raise FileNotFoundError(
            f"MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS='{weights}': the weights of '{name}' could not be downloaded "
            f"({type(error).__name__}). Fix: download them on a machine with a network (`open_clip.create_model(name, "
            "pretrained=tag)`, then torch.save of its state_dict), copy the file, and set the key to its path."
        ) from error


def _create(name: str, **kwargs: Any) -> nn.Module:
    """Build a model with random weights, without open_clip's warning about them."""
    import open_clip

    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        return open_clip.create_model(name, pretrained=None, pretrained_text=False, **kwargs)
    finally:
        logging.root.setLevel(level)


def _load_file(model: nn.Module, path: Path, name: str) -> None:
    """Load weights from a file into a model; ``name`` is for messages."""
    state = read_tensors(path).tensors
    for prefix in ("module.", "backbone.clip_model."):
        if all(key.startswith(prefix) for key in state):
            state = {key[len(prefix) :]: value for key, value in state.items()}
    own = model.state_dict()
    extra = {"input_resolution", "context_length", "vocab_size", "attn_mask"}
    unexpected = [k for k in state if k not in own and k not in extra]
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    misfit = [k for k in own if k in state and own[k].shape != state[k].shape]
    if missing or misfit or unexpected:
        raise ValueError(
            f"MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS='{path}': the weights do not fit CLIP model '{name}': "
            f"{len(missing)} missing, {len(unexpected)} unexpected, {len(misfit)} of another shape; first: "
            f"{(misfit + missing + unexpected)[0]}. Fix: check MODEL.FC_CLIP.CLIP_MODEL_NAME."
        )
    broken = [k for k, v in state.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())]
    if broken:
        raise ValueError(
            f"MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS='{path}': {len(broken)} tensors have values that are not finite; "
            f"first: {broken[0]}. Fix: get the file again."
        )
    model.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in state.items() if k in own}, strict=False
    )
