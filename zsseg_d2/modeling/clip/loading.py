"""From a model name and a weights source to an open_clip model: packaged configs, files, tags, and clear refusals."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import open_clip
import torch
from torch import nn

from ...compat import load_weights
from ...files import local_path

_PACKAGED = resources.files("zsseg_d2.modeling.clip") / "configs"
logger = logging.getLogger(__name__)


def resolve_clip_name(name: str) -> str:
    """Make ``name`` known to open_clip: one of its models, a packaged config, or a path to a JSON config file.

    Returns:
        The name under which ``open_clip.create_model`` builds it.

    Raises:
        ValueError: no such model; the message lists close names.
    """
    if name in open_clip.list_models():
        return name
    path = Path(str(_PACKAGED / f"{name}.json"))
    if not path.is_file():
        path = Path(name).expanduser()
    if path.suffix == ".json" and path.is_file():
        try:
            json.loads(path.read_text(encoding="utf-8"))["vision_cfg"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"'{path}' is not an open_clip model config: {error!r}.") from error
        open_clip.add_model_config(path)
        return path.stem
    import difflib

    close = difflib.get_close_matches(name, open_clip.list_models(), n=4, cutoff=0.4)
    raise ValueError(
        f"MODEL.FC_CLIP.CLIP_MODEL_NAME '{name}' is neither an open_clip model nor a JSON config file."
        + (f" Did you mean {', '.join(close)}?" if close else "")
    )


def build_tokenizer(name: str) -> Callable[[list[str]], torch.Tensor]:
    """The tokenizer of a resolved model name: strings to (len, context) int64.

    A config may name its own byte-pair merges by a file name relative to the packaged configs.
    """
    text = open_clip.get_model_config(name)["text_cfg"]
    kwargs = dict(text.get("tokenizer_kwargs") or {})
    if "bpe_path" in kwargs and not Path(kwargs["bpe_path"]).is_absolute():
        kwargs["bpe_path"] = str(_PACKAGED / kwargs["bpe_path"])
    return open_clip.get_tokenizer(name, **kwargs)


def create_clip(name: str, weights: str) -> nn.Module:
    """Build an open_clip model in float32 on the CPU.

    Args:
        name: resolved model name (:func:`resolve_clip_name`).
        weights: a local file, an open_clip pre-training tag, or "" for random weights without touching the network.

    Raises:
        FileNotFoundError: the file is missing, or the tag cannot be downloaded; the message names the remedy.
        ValueError: the weights do not fit the model, or the file is damaged or could run code.
    """
    if not weights:
        return _create(name)
    path = local_path(weights)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if path.is_file():
        # OpenAI trained with QuickGELU, and a file does not say so: an architecture that OpenAI published is taken as
        # OpenAI's. Weights of that shape trained with GELU need a JSON config of their own.
        quick = "openai" in tags
        if quick:
            logger.info("'%s' is taken as OpenAI's '%s': its text tower uses QuickGELU.", path, name)
        model = _create(name, force_quick_gelu=quick)
        _load_file(model, path, name)
        return model
    if weights not in tags:
        raise FileNotFoundError(
            f"MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS '{weights}' is neither a file nor a tag of open_clip's '{name}' "
            f'(tags: {", ".join(tags) or "none"}). Give a path to a .pt or .safetensors file, or "" for random weights.'
        )
    try:
        return open_clip.create_model(name, pretrained=weights, force_quick_gelu=weights == "openai")
    except Exception as error:
        logger.debug("open_clip download failed", exc_info=True)
        raise FileNotFoundError(
            f"The CLIP weights '{weights}' of '{name}' could not be downloaded ({type(error).__name__}). Download them on "
            "a machine with a network (`open_clip.create_model(name, pretrained=tag)`, then torch.save of its "
            "state_dict), put the file here, and set MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS to its path."
        ) from error


def _create(name: str, **kwargs) -> nn.Module:
    """A model with random weights; open_clip's warning about that is left out, for it is what was asked."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        return open_clip.create_model(name, pretrained=None, pretrained_text=False, **kwargs)
    finally:
        logging.root.setLevel(level)


def _load_file(model: nn.Module, path: Path, name: str) -> None:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = load_file(path)
        except SafetensorError as error:
            raise ValueError(f"'{path}' is damaged: {error}. Get it again.") from error
    else:
        try:
            state = load_weights(str(path))
        except RuntimeError as error:
            raise ValueError(str(error)) from error
    state = state.get("state_dict", state.get("model", state))
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
            f"'{path}' does not fit CLIP model '{name}': {len(missing)} missing, {len(unexpected)} unexpected, "
            f"{len(misfit)} of another shape; first: {(misfit + missing + unexpected)[0]}. "
            "Check MODEL.FC_CLIP.CLIP_MODEL_NAME."
        )
    model.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in state.items() if k in own}, strict=False
    )
