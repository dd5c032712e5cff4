"""Make the small recordings in this folder from the full ones; see README.md.

ZSSEG_D2_PARITY=FOLDER python -m tests.recordings.make_recordings
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.parity import FOLDER, Recording, build_recorded_model, full_recording
from zsseg_d2 import Vocabulary
from zsseg_d2.modeling.fcclip.query_decoder import class_logits
from zsseg_d2.vocabulary import PROMPT_TEMPLATES

OMITTED = ("backbone.clip_model.visual.attnpool.",)
TOKENS = "backbone.clip_model.token_embedding.weight"
STEPS = {"res2": 8, "mask_features": 16, "multi_scale_features.1": 4, "multi_scale_features.2": 16}  # of channels


def write(name: str, meta: dict, arrays: dict[str, np.ndarray]) -> None:
    """Write an ``.npz`` file with LZMA, which NumPy reads like any other."""
    arrays = {**arrays, "meta": np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)}
    with zipfile.ZipFile(FOLDER / f"{name}.npz", "w", zipfile.ZIP_LZMA) as archive:
        for key, array in arrays.items():
            entry = zipfile.ZipInfo(f"{key}.npy")  # of 1980, so that the same content gives the same file
            entry.compress_type = zipfile.ZIP_LZMA
            with archive.open(entry, "w") as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def byte_planes(tensors: list[Tensor]) -> np.ndarray:
    """All low bytes of float16 tensors, then all high bytes, which compress."""
    return np.concatenate([t.numpy().reshape(-1).view(np.uint8).reshape(-1, 2) for t in tensors]).T


def flat_expected(expected: dict) -> dict[str, Tensor]:
    """Tensors by name, those of lists and dicts as ``name.0`` and ``name.key``."""
    flat = {}
    for name, value in expected.items():
        if isinstance(value, Tensor):
            flat[name] = value
        elif name != "segments_info":
            items = value.items() if isinstance(value, dict) else enumerate(value)
            flat.update({f"{name}.{key}": tensor for key, tensor in items})
    return flat


def kept_queries(expected: dict) -> list[int]:
    """Queries that are not void: the others take no part in the panoptic rule."""
    scores = expected["ensembled_class_log_probs"]
    return (scores.argmax(-1) != scores.shape[-1] - 1).nonzero()[:, 0].tolist()


def used_tokens(model: torch.nn.Module, vocabulary: Vocabulary) -> list[int]:
    prompts = [template.format(row) for row in vocabulary.rows for template in PROMPT_TEMPLATES]
    return sorted(set(model.backbone.tokenizer(prompts).flatten().tolist()))


def resnet(record: Recording, folder: Path) -> None:
    """Everything of the ResNet model but the weights of its attention pooling, whose output is kept instead."""
    model = build_recorded_model(record, folder).eval()
    with torch.no_grad():
        dense, masks = record.expected["clip_vis_dense"], record.expected["pred_masks"]
        small = torch.nn.functional.interpolate(masks, size=dense.shape[-2:], mode="bilinear", align_corners=False)
        regions = model.backbone.embed_regions(dense, small)
    tokens = used_tokens(model, Vocabulary.from_strings(record.meta["test_vocabulary"]))
    state = {k: v for k, v in record.state.items() if not k.startswith(OMITTED)}
    state[TOKENS] = state[TOKENS][tokens]
    parts = {name: [1, list(range(0, record[name].shape[1], step))] for name, step in STEPS.items()}
    parts["pred_masks"] = [1, kept_queries(record.expected)]
    half = {k: v for k, v in state.items() if v.dtype == torch.float16}
    meta = {
        **record.meta,
        "half": {k: list(v.shape) for k, v in half.items()},
        "omitted": list(OMITTED),
        "tokens": tokens,
        "parts": parts,
    }
    arrays = {"half": byte_planes(list(half.values())), "image": record.image.numpy()}
    arrays.update({f"state/{k}": v.numpy() for k, v in state.items() if k not in half})
    expected = {**flat_expected(record.expected), "regions": regions}
    expected["panoptic_seg"] = expected["panoptic_seg"].to(torch.uint8)
    expected["sem_seg"] = expected["sem_seg"][:, ::8, ::8]
    for name, (dim, indices) in parts.items():
        expected[name] = expected[name].index_select(dim, torch.tensor(indices))
    arrays.update({f"expected/{k}": v.numpy() for k, v in expected.items()})
    write("fcclip_resnet_mini", meta, arrays)


def convnext(record: Recording, folder: Path) -> None:
    """Of the ConvNeXt model: what the ensemble and the panoptic rule read and give."""
    model = build_recorded_model(record, folder).eval()
    expected = record.expected
    vocabulary = Vocabulary.from_strings(record.meta["test_vocabulary"])
    with torch.no_grad():
        masks = expected["pred_masks"]
        dense = expected["clip_vis_dense"]
        small = torch.nn.functional.interpolate(masks, size=dense.shape[-2:], mode="bilinear", align_corners=False)
        regions = model.backbone.embed_regions(dense, small)
        text = torch.cat((expected["text_classifier"], expected["text_classifier"][:1]))  # a void that is not read
        outside = class_logits(regions, text, vocabulary.synonyms_per_class, model.backbone.logit_scale)[..., :-1]
    kept = kept_queries(expected)
    meta = {**record.meta, "parts": {"pred_masks": [1, kept]}}
    arrays = {
        "expected/pred_logits": expected["pred_logits"].numpy(),
        "expected/outside_logits": outside.numpy(),
        "expected/category_overlapping_mask": expected["category_overlapping_mask"].numpy(),
        "expected/ensembled_class_log_probs": expected["ensembled_class_log_probs"].numpy(),
        "expected/pred_masks": masks[:, kept].numpy(),
        "expected/panoptic_seg": expected["panoptic_seg"].to(torch.uint8).numpy(),
    }
    write("fcclip_convnext_mini", meta, arrays)


def criterion(record: dict) -> None:
    """The whole recording of matching and losses."""
    expected = record["expected"]
    meta = {
        "matcher": {k: v for k, v in record["matcher"].items() if k != "point_coords"},
        "no_object_weight": record["no_object_weight"],
        "num_masks": record["num_masks"],
        "indices": [[index.tolist() for index in pair] for pair in expected["indices"]],
        **{name: float(expected[name]) for name in ("loss_ce", "loss_mask", "loss_dice")},
    }
    arrays = {
        "pred_logits": record["pred_logits"].numpy(),
        "pred_masks": record["pred_masks"].numpy(),
        "point_coords": record["matcher"]["point_coords"].numpy(),
        "loss_point_coords": record["loss_point_coords"].numpy(),
    }
    for index, target in enumerate(record["targets"]):
        arrays[f"labels/{index}"], arrays[f"masks/{index}"] = target["labels"].numpy(), target["masks"].numpy()
    write("criterion", meta, arrays)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        resnet(Recording.from_full(full_recording("fcclip_resnet_mini.pt")), Path(folder))
        convnext(Recording.from_full(full_recording("fcclip_convnext_mini.pt")), Path(folder))
    criterion(full_recording("criterion.pt"))


if __name__ == "__main__":
    main()
