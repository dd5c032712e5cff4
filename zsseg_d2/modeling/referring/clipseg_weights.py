"""Convert weights of ``transformers.CLIPSegForImageSegmentation`` to the names of this package and of open_clip."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_BLOCK = {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "layer_norm": "ln_", "self_attn": "attn"}
_DECODER = {
    "film_mul": "film.mul",
    "film_add": "film.add",
    "transposed_convolution": "head",
    "mlp.fc": "linear",
    "layer_norm": "norm",
}
_CLIP = {
    "text_model.embeddings.token_embedding": "token_embedding",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.encoder.layers": "transformer.resblocks",
    "text_model.final_layer_norm": "ln_final",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding": "visual.conv1",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "vision_model.encoder.layers": "visual.transformer.resblocks",
    **_BLOCK,
}


def _rename(state: Mapping[str, Tensor], prefix: str, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Rename entries below a prefix; queries, keys and values become one ``in_proj``, in this order."""
    renamed: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        if not key.startswith(prefix) or key.endswith("position_ids"):
            continue
        key = key[len(prefix) :]
        for old, new in names.items():
            key = key.replace(old, new)
        if found := re.fullmatch(r"(.*)\.([qkv])_proj\.(weight|bias)", key):
            attention, part, kind = found.groups()
            parts.setdefault(f"{attention}.in_proj_{kind}", {})[part] = value
        else:
            renamed[key] = value
    for key, part in parts.items():
        if missing := [letter for letter in "qkv" if letter not in part]:
            raise ValueError(
                f"The weights of transformers' CLIPSeg are not complete: {prefix}{key} lacks {missing[0]}_proj."
            )
        renamed[key] = torch.cat([part[letter] for letter in "qkv"])
    return renamed


def convert_transformers_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the ``decoder.`` part, for :class:`zsseg_d2.modeling.referring.clipseg_decoder.CLIPSegDecoder`.

    ===============================  ===========================
    transformers                     here
    ===============================  ===========================
    film_mul, film_add               film.mul, film.add
    reduces.i (0 is the deepest)     reduces.i
    layers.i.self_attn.{q,k,v}_proj  layers.i.self_attn.in_proj
    layers.i.mlp.fc1, fc2            layers.i.linear1, linear2
    layers.i.layer_norm1, 2          layers.i.norm1, norm2
    transposed_convolution           head
    ===============================  ===========================

    Raises:
        ValueError: If the state has no such part.
    """
    return _needed(_rename(state, "decoder.", _DECODER), "decoder")


def convert_transformers_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the ``clip.`` part, for an open_clip CLIP with a ViT tower and QuickGELU.

    Raises:
        ValueError: If the state has no such part.
    """
    renamed = _needed(_rename(state, "clip.", _CLIP), "clip")
    # open_clip multiplies with its projections from the right.
    projections = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
    return {projections.get(k, k): v.T.contiguous() if k in projections else v for k, v in renamed.items()}


def from_transformers(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Convert a state of transformers' CLIPSeg for the phrase segmentation model; return any other state unchanged.

    Raises:
        ValueError: If a part of it is missing.
    """
    if "decoder.film_mul.weight" not in state:
        return state
    parts = {"decoder.": convert_transformers_state(state), "backbone.clip_model.": convert_transformers_clip(state)}
    return {prefix + key: value for prefix, part in parts.items() for key, value in part.items()}


def _needed(part: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    if not part:
        raise ValueError(f"No '{name}.' weights: this is not the state of transformers.CLIPSegForImageSegmentation.")
    return part
